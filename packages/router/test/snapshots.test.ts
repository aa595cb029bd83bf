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
  t.same(await restoreSnapshot(empty, bytes, false), { written: 4, removed: 0 })
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
  t.same(await restoreSnapshot(store, bytes, true), { written: 2, removed: 1 })
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
    compareAndSet: async () => ({ kind: 'conflict', current: undefined }),
  }
  await t.rejects(restoreSnapshot(disturbed, bytes, false), { code: 'WTR_CONTENDED', message: /again with --force/ })
})
