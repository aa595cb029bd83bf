import assert from 'node:assert/strict'
import type { Change, Key, KeyValueStore, Outcome, Version, Versioned } from '../key-value-store.ts'

/** Writes and insists that it worked. */
export async function put(store: KeyValueStore, key: Key, value: string | undefined, expected = 0): Promise<Version> {
  return written(await store.compareAndSet(key, expected, value))
}

/** The version of a write that must have worked. */
export function written(outcome: Outcome): Version {
  assert.equal(outcome.kind, 'written', `expected a write, got ${JSON.stringify(outcome)}`)
  return (outcome as { readonly version: Version }).version
}

/** Everything below a prefix. */
export async function listAll(store: KeyValueStore, prefix = ''): Promise<Versioned[]> {
  const entries: Versioned[] = []
  for await (const entry of store.list(prefix)) entries.push(entry)
  return entries
}

/** Reads a watch step by step. */
export interface WatchReader {
  /** The next element; fails when the watch has ended. */
  next(): Promise<Change>
  /** Insists that the watch ends without an error. */
  ended(): Promise<void>
  abort(): void
}

/** Begins to watch; the first `next` starts it. */
export function readWatch(store: KeyValueStore, prefix = ''): WatchReader {
  const controller = new AbortController()
  const iterator = store.watch(prefix, controller.signal)[Symbol.asyncIterator]()
  return {
    next: async () => {
      const step = await iterator.next()
      assert.equal(step.done ?? false, false, 'the watch has ended')
      return step.value as Change
    },
    ended: async () => {
      assert.equal((await iterator.next()).done, true, 'the watch goes on')
    },
    abort: () => controller.abort(),
  }
}

/** Insists on a failure with this code. */
export async function failsWith(code: string, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, { name: 'WaiterError', code })
}
