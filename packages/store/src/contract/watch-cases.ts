import assert from 'node:assert/strict'
import type { Change, KeyValueStore, Version } from '../key-value-store.ts'
import { failsWith, listAll, put, readWatch } from './helpers.ts'
import type { CaseBody, ContractSubject } from './key-value-store-contract.ts'

const WRITES = 50

/** Watching. */
export const watchCases: readonly CaseBody[] = [
  { name: 'a watch tells what is there, then that it is synced, then what changes', run: presentThenChanges },
  { name: 'a watch of an empty prefix is synced at once', run: emptyWatch },
  { name: 'a watch has no gap and no repetition while others write', run: noGap },
  { name: 'a watch sees its prefix only', run: prefixOnly },
  { name: 'a watch ends when it is aborted, before, during and after its beginning', run: aborting },
  { name: 'a watch ends when the store is closed', run: closing },
  { name: 'a watcher that lags is told so and can start again', run: lagging },
  { name: 'a slow watcher holds up neither writers nor other watchers', run: independence },
]

async function presentThenChanges(store: KeyValueStore): Promise<undefined> {
  const b = await put(store, 'b', '1')
  const a = await put(store, 'a', '2')
  const watch = readWatch(store)
  assert.deepEqual(await watch.next(), { kind: 'put', entry: { key: 'a', value: '2', version: a } })
  assert.deepEqual(await watch.next(), { kind: 'put', entry: { key: 'b', value: '1', version: b } })
  assert.deepEqual(await watch.next(), { kind: 'synced', version: a })
  const waiting = watch.next()
  const a2 = await put(store, 'a', '3', a)
  assert.deepEqual(await waiting, { kind: 'put', entry: { key: 'a', value: '3', version: a2 } })
  const gone = await put(store, 'b', undefined, b)
  await store.compareAndSet('a', 0, 'conflicts are no changes')
  const c = await put(store, 'c', '4')
  assert.deepEqual(await watch.next(), { kind: 'delete', key: 'b', version: gone })
  assert.deepEqual(await watch.next(), { kind: 'put', entry: { key: 'c', value: '4', version: c } })
  watch.abort()
}

async function emptyWatch(store: KeyValueStore): Promise<undefined> {
  const version = await put(store, 'a', '1')
  const watch = readWatch(store, 'b')
  assert.deepEqual(await watch.next(), { kind: 'synced', version })
  watch.abort()
}

async function noGap(store: KeyValueStore): Promise<undefined> {
  const writer = async (name: string): Promise<void> => {
    let version: Version = 0
    for (let count = 0; count < WRITES; count++) {
      version = await put(store, `key-${name}`, String(count), version)
      // A breath for the watchers: a store in memory writes on within one turn of the event loop, and they would lag.
      if (count % 4 === 0) await new Promise(setImmediate)
    }
  }
  const total = 2 * WRITES
  const watcher = async (): Promise<void> => {
    const seen = new Map<string, string>()
    let last: Version = 0
    let isSynced = false
    const controller = new AbortController()
    for await (const change of store.watch('key-', controller.signal)) {
      if (change.kind === 'put') seen.set(change.entry.key, change.entry.value)
      if (isSynced) {
        assert.equal(versionOf(change), last + 1, 'each change follows the one before')
        last++
      } else if (change.kind === 'synced') {
        isSynced = true
        last = change.version
      } else assert.ok(versionOf(change) <= total)
      if (last === total) controller.abort()
    }
    assert.deepEqual([...seen.values()], [String(WRITES - 1), String(WRITES - 1)])
  }
  const late = async (): Promise<void> => {
    await new Promise(setImmediate)
    await watcher()
  }
  await Promise.all([writer('a'), watcher(), writer('b'), late()])
}

function versionOf(change: Change): Version {
  return change.kind === 'put' ? change.entry.version : change.version
}

async function prefixOnly(store: KeyValueStore): Promise<undefined> {
  const watch = readWatch(store, 'a/')
  await watch.next()
  await put(store, 'a', '1')
  await put(store, 'b/', '2')
  await put(store, 'a/1', '3')
  assert.equal(versionOf(await watch.next()), 3)
  watch.abort()
}

async function aborting(store: KeyValueStore): Promise<undefined> {
  await put(store, 'a', '1')
  await put(store, 'b', '1')
  const before = readWatch(store)
  before.abort()
  await before.ended()
  const during = readWatch(store)
  await during.next()
  during.abort()
  await during.ended()
  const after = readWatch(store)
  for (let step = 0; step < 3; step++) await after.next()
  const ended = after.ended()
  after.abort()
  await ended
  await after.ended()
}

async function closing(store: KeyValueStore): Promise<undefined> {
  const watch = readWatch(store)
  await watch.next()
  const ended = watch.ended()
  await store.close()
  await ended
}

async function lagging(store: KeyValueStore, { watchQueueChangesMax }: ContractSubject): Promise<undefined> {
  const watch = readWatch(store)
  await watch.next()
  // Several times as many: something between store and watcher (a network) may hold some too.
  const count = 4 * watchQueueChangesMax
  for (let at = 0; at < count; at++) await put(store, `key-${at}`, 'x')
  const readOn = async (): Promise<void> => {
    for (let at = 0; at < count; at++) await watch.next()
  }
  await failsWith('WTR_WATCH_LAGGED', readOn())
  const again = readWatch(store)
  for (let at = 0; at < count; at++) assert.equal((await again.next()).kind, 'put')
  assert.equal((await again.next()).kind, 'synced')
  again.abort()
  return undefined
}

async function independence(store: KeyValueStore, { watchQueueChangesMax }: ContractSubject): Promise<undefined> {
  const slow = readWatch(store)
  await slow.next()
  const quick = readWatch(store)
  await quick.next()
  for (let at = 0; at < 2 * watchQueueChangesMax; at++) {
    const version = await put(store, `key-${at}`, 'x')
    assert.equal(versionOf(await quick.next()), version)
  }
  assert.equal((await listAll(store)).length, 2 * watchQueueChangesMax)
  slow.abort()
  quick.abort()
  return undefined
}
