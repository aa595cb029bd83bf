import { createMemoryStore, type KeyValueStore } from '@waiter/store'
import t from 'tap'
import { restoreSnapshot, takeSnapshot } from '../src/cluster/snapshots.ts'

const header = { cluster: 'waiter', release: '1' }

async function storeWith(entries: Readonly<Record<string, string>>): Promise<KeyValueStore> {
  const store = createMemoryStore()
  for (const [key, value] of Object.entries(entries)) await store.compareAndSet(key, 0, value)
  return store
}

async function contentOf(store: KeyValueStore): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for await (const { key, value } of store.list('')) found[key] = value
  return found
}

t.test('a snapshot has what people have told, and goes into an empty cluster', async t => {
  const told = { 'tokens/a': '1', 'overrides/s': '2', 'suspensions/s': '3', 'withdrawals/a': '4' }
  const bytes = await takeSnapshot(await storeWith({ ...told, 'members/1': 'x', 'routers/n/1': 'y' }), header)
  const empty = await storeWith({ 'members/7': 'z' })
  t.same(await restoreSnapshot(empty, bytes, false), { written: 4, removed: 0, pieces: 1 })
  t.same(await contentOf(empty), { ...told, 'members/7': 'z' }, 'who the members are is its own')
})

t.test('what is there is replaced only by force', async t => {
  const bytes = await takeSnapshot(await storeWith({ 'tokens/a': 'new', 'tokens/b': 'same' }), header)
  const before = { 'tokens/a': 'old', 'tokens/b': 'same', 'tokens/c': 'more', 'members/1': 'x' }
  const store = await storeWith(before)
  await t.rejects(restoreSnapshot(store, bytes, false), {
    code: 'WTR_NOT_EMPTY',
    status: 409,
    message: /it has 3 entries\. With --force/,
  })
  t.same(await contentOf(store), before)
  t.same(await restoreSnapshot(store, bytes, true), { written: 2, removed: 1, pieces: 1 })
  t.same(await contentOf(store), { 'tokens/a': 'new', 'tokens/b': 'same', 'members/1': 'x' })
})

t.test('a damaged one changes nothing; one that is disturbed says so', async t => {
  const bytes = await takeSnapshot(await storeWith({ 'tokens/a': '1' }), header)
  const store = await storeWith({})
  await t.rejects(restoreSnapshot(store, bytes.subarray(1), true), { code: 'WTR_SNAPSHOT_CORRUPT', status: 400 })
  t.same(await contentOf(store), {})
  const disturbed: KeyValueStore = {
    ...store,
    list: prefix => store.list(prefix),
    compareAndSetAll: async () => ({ kind: 'conflict', current: undefined }),
  }
  await t.rejects(restoreSnapshot(disturbed, bytes, false), { code: 'WTR_CONTENDED', message: /again with --force/ })
})

const OLD = { 'tokens/a': 'old', 'tokens/b': 'same', 'tokens/c': 'goes', 'members/1': 'x' }
const NEW = { 'tokens/a': 'new', 'tokens/b': 'same', 'tokens/d': 'comes', 'tokens/e': 'comes too' }

/** As `store`, until call number `after`, with which the router that restores dies: before or after it took effect. */
function dyingAt(store: KeyValueStore, after: number, hasHappened: boolean): KeyValueStore {
  let calls = 0
  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    const dies = ++calls >= after
    if (!dies || (hasHappened && calls === after)) {
      const result = await work()
      if (!dies) return result
    }
    throw new Error(`died at ${after}`)
  }
  return {
    ...store,
    get: key => call(() => store.get(key)),
    compareAndSet: (key, expected, value) => call(() => store.compareAndSet(key, expected, value)),
    compareAndSetAll: writes =>
      call(async () => (await store.compareAndSetAll?.(writes)) ?? Promise.reject(new Error())),
    list: async function* (prefix) {
      await call(async () => undefined)
      yield* store.list(prefix)
    },
  }
}

t.test('whenever whoever restores dies, the cluster has what it had, or all of the snapshot', async t => {
  const bytes = await takeSnapshot(await storeWith(NEW), header)
  const seen = new Set<string>()
  for (const hasHappened of [false, true]) {
    for (let after = 1, isDone = false; !isDone; after++) {
      const store = await storeWith(OLD)
      isDone = await restoreSnapshot(dyingAt(store, after, hasHappened), bytes, true).then(
        () => true,
        error => {
          t.match(error, { message: `died at ${after}` })
          return false
        },
      )
      const content = await contentOf(store)
      const is = (wanted: object): boolean => JSON.stringify(content) === JSON.stringify(wanted)
      const restored = { 'members/1': 'x', ...NEW }
      seen.add(is(Object.fromEntries(Object.entries(OLD).sort())) ? 'old' : is(restored) ? 'new' : 'half')
    }
  }
  t.same([...seen].sort(), ['new', 'old'])
})

t.test(
  'what is too much for one write goes in as few pieces as possible; a store that writes single keys gets those',
  async t => {
    const MEBIBYTE = 'x'.repeat(2 ** 20 - 100)
    const large = Object.fromEntries(Array.from({ length: 13 }, (_, at) => [`tokens/${at}`, MEBIBYTE]))
    const bytes = await takeSnapshot(await storeWith(large), header)
    const store = await storeWith({})
    t.match(await restoreSnapshot(store, bytes, false), { written: 13, pieces: 2 })
    t.same(await contentOf(store), large)
    const { compareAndSetAll: _absent, ...single } = await storeWith({ 'tokens/z': '1' })
    const small = await takeSnapshot(await storeWith({ 'tokens/a': '1', 'tokens/b': '2' }), header)
    t.match(await restoreSnapshot(single, small, true), { written: 2, removed: 1, pieces: 3 })
    t.same(await contentOf(single), { 'tokens/a': '1', 'tokens/b': '2' })
  },
)
