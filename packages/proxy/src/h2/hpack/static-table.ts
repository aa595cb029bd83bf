import { HeaderField } from '../header-field.ts'
import { STATIC_ENTRIES } from './static-entries.ts'

/** The static table as fields; index 0 is unused, as on the wire. */
export const STATIC_TABLE: readonly (HeaderField | undefined)[] = [
  undefined,
  ...STATIC_ENTRIES.map(([name, value]) => new HeaderField(name, value)),
]

/** Entries of the static table; the dynamic one begins behind it. */
export const STATIC_COUNT = 61
