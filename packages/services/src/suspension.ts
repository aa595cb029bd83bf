import type { Millis } from '@waiter/base'

/** Whether a service is suspended, as it is stored (spec §4.1); a resumed one is remembered for people. */
export interface SuspensionRecord {
  readonly suspended: boolean
  readonly 'last-updated-by': string
  readonly time: Millis
}
