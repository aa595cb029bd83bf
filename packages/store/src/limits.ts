import { storeLimit } from './errors.ts'
import type { Key } from './key-value-store.ts'

/** The longest key, in bytes of UTF-8. */
export const KEY_BYTES_MAX = 512

/** The largest value, in bytes of UTF-8. */
export const VALUE_BYTES_MAX: number = 2 ** 20

/** Changes that wait for a watcher; one more ends the watch. */
export const WATCH_QUEUE_CHANGES_MAX = 10_000

/** Bytes of values that wait for a watcher; more end the watch, unless it is a single change. */
export const WATCH_QUEUE_BYTES_MAX: number = 64 * 2 ** 20

/** @throws {WaiterError} `WTR_STORE_LIMIT` unless the key is 1–512 bytes of UTF-8 */
export function checkKey(key: Key): void {
  const bytes = Buffer.byteLength(key)
  if (bytes === 0 || bytes > KEY_BYTES_MAX) {
    throw storeLimit(`A key must have 1 to ${KEY_BYTES_MAX} bytes; this one has ${bytes}.`)
  }
  if (!key.isWellFormed()) throw storeLimit('A key must be well-formed Unicode: this one has half a surrogate pair.')
}

/** @throws {WaiterError} `WTR_STORE_LIMIT` unless the value is at most 1 MiB of UTF-8 */
export function checkValue(value: string): void {
  const bytes = Buffer.byteLength(value)
  if (bytes > VALUE_BYTES_MAX) throw storeLimit(`A value has at most ${VALUE_BYTES_MAX} bytes; this one has ${bytes}.`)
  if (!value.isWellFormed())
    throw storeLimit('A value must be well-formed Unicode: this one has half a surrogate pair.')
}

/** Writes that wait, for a disk or for other nodes; more are refused at once. */
export const WRITES_QUEUED_MAX = 10_000
