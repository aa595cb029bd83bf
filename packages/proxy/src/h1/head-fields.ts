import { equalsLower, listMembers } from './field-values.ts'
import type { HeadScanner } from './head-scanner.ts'

/** Joined value of a field in a scanned head, or undefined. Cookies are joined as RFC 6265 wants them. */
export function findField(text: string, scanner: HeadScanner, lowerName: string): string | undefined {
  const { fields, fieldCount } = scanner
  let value: string | undefined
  for (let i = 0; i < fieldCount; i++) {
    const at = i * 4
    if (!equalsLower(text, fields[at]!, fields[at + 1]!, lowerName)) continue
    const found = text.slice(fields[at + 2]!, fields[at + 3]!)
    value = value === undefined ? found : value + (lowerName === 'cookie' ? '; ' : ', ') + found
  }
  return value
}

/** What the Connection fields of a head ask for. */
export interface ConnectionOptions {
  close: boolean
  keepAlive: boolean
  upgrade: boolean
  /** Lower-case names of fields that must not be forwarded. */
  nominated: string[] | null
}

/** Adds one Connection field's value; the two usual values take the fast path. */
export function readConnectionOptions(text: string, start: number, end: number, options: ConnectionOptions): void {
  if (equalsLower(text, start, end, 'keep-alive')) {
    options.keepAlive = true
    return
  }
  if (equalsLower(text, start, end, 'close')) {
    options.close = true
    return
  }
  for (const member of listMembers(text.slice(start, end))) {
    if (member === 'close') options.close = true
    else if (member === 'keep-alive') options.keepAlive = true
    else if (member === 'upgrade') options.upgrade = true
    else if (options.nominated === null) options.nominated = [member]
    else options.nominated.push(member)
  }
}

/** Marks fields that Connection nominates with `code`; the engine's own framing fields cannot be nominated away. */
export function markNominated(
  text: string,
  scanner: HeadScanner,
  nominated: readonly string[],
  lastFramingCode: number,
  code: number,
): void {
  for (let i = 0; i < scanner.fieldCount; i++) {
    const present = scanner.codes[i]!
    if (present > 0 && present <= lastFramingCode) continue
    const at = i * 4
    for (const name of nominated) {
      if (equalsLower(text, scanner.fields[at]!, scanner.fields[at + 1]!, name)) scanner.codes[i] = code
    }
  }
}
