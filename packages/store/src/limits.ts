import { storeLimit } from './errors.ts'
import type { Key, Write } from './key-value-store.ts'

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

/** Keys and values that are written all at once, in bytes of UTF-8: a log entry, and less than one may have. */
export const WRITES_BYTES_MAX: number = 12 * 2 ** 20

/** @throws {WaiterError} `WTR_STORE_LIMIT` unless each may be written, and all together */
export function checkWrites(writes: readonly Write[]): void {
  for (const { key, value } of writes) {
    checkKey(key)
    if (value !== undefined) checkValue(value)
  }
  const bytes = bytesOf(writes)
  if (writes.length === 0 || new Set(writes.map(({ key }) => key)).size < writes.length)
    throw storeLimit('Writes that belong together are at least one, and of each key one.')
  if (bytes > WRITES_BYTES_MAX)
    throw storeLimit(`Writes that belong together have at most ${WRITES_BYTES_MAX} bytes; these have ${bytes}.`)
}

/** How much is written. */
export function bytesOf(writes: readonly Pick<Write, 'key' | 'value'>[]): number {
  const WRITE_HEAD_BYTES = 32
  return writes.reduce(
    (sum, { key, value = '' }) => sum + WRITE_HEAD_BYTES + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  )
}

/** Writes that wait, for a disk or for other nodes; more are refused at once. */
export const WRITES_QUEUED_MAX = 10_000
