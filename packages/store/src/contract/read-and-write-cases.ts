import assert from 'node:assert/strict'
import type { KeyValueStore } from '../key-value-store.ts'
import { failsWith, listAll, put } from './helpers.ts'
import type { CaseBody, ContractSubject } from './key-value-store-contract.ts'

const ODD_KEYS = [
  '__proto__',
  'constructor',
  'toString',
  ' ',
  '\u0000',
  'a/b',
  'ä',
  'a\u0308',
  '日本',
  '\ue000',
  '😀',
  '"\n',
]
const KEY_BYTES_MAX = 512
const VALUE_BYTES_MAX = 2 ** 20

/** Looking and writing, one at a time. */
export const readAndWriteCases: readonly CaseBody[] = [
  { name: 'a key that was never written is not there', run: neverWritten },
  { name: 'a write is read back with its version', run: readBack },
  { name: 'a write with an old version changes nothing and tells what is there', run: conflict },
  { name: 'a deleted key is not there, and its versions are not used again', run: deletion },
  { name: 'versions grow by one with each write of the whole store', run: versionsGrow },
  { name: 'a list is in order of code points and below its prefix only', run: listOrder },
  { name: 'keys and values may be any text', run: oddKeys },
  { name: 'keys have 1 to 512 bytes, values at most 1 MiB', run: limits },
  { name: 'several writes take effect together or not at all, where a store can do that', run: together },
  { name: 'a closed store refuses everything', run: closed },
  { name: 'everything survives being closed and opened again', needsReopen: true, run: survival },
]

async function neverWritten(store: KeyValueStore): Promise<undefined> {
  assert.equal(await store.get('a'), undefined)
  assert.deepEqual(await listAll(store), [])
  assert.deepEqual(await store.compareAndSet('a', 7, 'x'), { kind: 'conflict', current: undefined })
}

async function readBack(store: KeyValueStore): Promise<undefined> {
  const version = await put(store, 'a', 'one')
  assert.deepEqual(await store.get('a'), { key: 'a', value: 'one', version })
  await put(store, 'a', '', version)
  assert.equal((await store.get('a'))?.value, '')
}

async function conflict(store: KeyValueStore): Promise<undefined> {
  const version = await put(store, 'a', 'one')
  const current = { key: 'a', value: 'one', version }
  for (const expected of [0, version - 1, version + 1].filter(one => one !== version)) {
    assert.deepEqual(await store.compareAndSet('a', expected, 'two'), { kind: 'conflict', current })
    assert.deepEqual(await store.compareAndSet('a', expected, undefined), { kind: 'conflict', current })
  }
  assert.deepEqual(await store.get('a'), current)
}

async function deletion(store: KeyValueStore): Promise<undefined> {
  const first = await put(store, 'a', 'one')
  const second = await put(store, 'a', undefined, first)
  assert.equal(await store.get('a'), undefined)
  assert.deepEqual(await listAll(store), [])
  assert.deepEqual(await store.compareAndSet('a', first, 'x'), { kind: 'conflict', current: undefined })
  const third = await put(store, 'a', 'again')
  assert.ok(first < second && second < third)
}

async function versionsGrow(store: KeyValueStore): Promise<undefined> {
  const first = await put(store, 'a', '1')
  assert.equal(await put(store, 'b', '2'), first + 1)
  await store.compareAndSet('b', 0, 'conflict')
  assert.equal(await put(store, 'c', undefined), first + 2, 'deleting what is not there is a write like any other')
  assert.equal(await put(store, 'a', '3', first), first + 3)
}

async function listOrder(store: KeyValueStore): Promise<undefined> {
  const keys = ['a', 'a/', 'a/1', 'a/10', 'a/2', 'a0', 'b', 'é', '\ue000', '\uffff', '😀']
  for (const key of [...keys].reverse()) await put(store, key, key)
  assert.deepEqual(
    (await listAll(store)).map(({ key }) => key),
    keys,
  )
  assert.deepEqual(
    (await listAll(store, 'a/')).map(({ key }) => key),
    ['a/', 'a/1', 'a/10', 'a/2'],
  )
  assert.deepEqual(await listAll(store, 'zz'), [])
}

async function oddKeys(store: KeyValueStore): Promise<undefined> {
  for (const key of ODD_KEYS) {
    assert.equal(await store.get(key), undefined, JSON.stringify(key))
    await put(store, key, `value of ${key}`)
  }
  for (const key of ODD_KEYS) assert.equal((await store.get(key))?.value, `value of ${key}`, JSON.stringify(key))
  assert.equal((await listAll(store)).length, ODD_KEYS.length)
}

async function limits(store: KeyValueStore): Promise<undefined> {
  await put(store, 'k'.repeat(KEY_BYTES_MAX), 'v'.repeat(VALUE_BYTES_MAX))
  assert.equal((await store.get('k'.repeat(KEY_BYTES_MAX)))?.value.length, VALUE_BYTES_MAX)
  const tooMuch: readonly (readonly [string, string])[] = [
    ['', 'v'],
    ['k'.repeat(KEY_BYTES_MAX + 1), 'v'],
    ['ä'.repeat(KEY_BYTES_MAX / 2 + 1), 'v'],
    ['k', 'v'.repeat(VALUE_BYTES_MAX + 1)],
    ['k', `${'v'.repeat(VALUE_BYTES_MAX - 1)}ä`],
    ['half\ud800', 'v'],
    ['k', 'half\ud800'],
  ]
  for (const [key, value] of tooMuch) await failsWith('WTR_STORE_LIMIT', store.compareAndSet(key, 0, value))
  assert.equal((await listAll(store)).length, 1)
}

async function together(store: KeyValueStore): Promise<undefined> {
  const all = store.compareAndSetAll?.bind(store)
  if (all === undefined) return
  const version = await put(store, 'b', 'old')
  const current = await store.get('b')
  const put2 = { key: 'a', expected: 0, value: 'new' }
  assert.deepEqual(await all([put2, { key: 'b', expected: version + 1, value: 'new' }]), { kind: 'conflict', current })
  assert.equal(await store.get('a'), undefined)
  const outcome = await all([put2, { key: 'b', expected: version, value: undefined }])
  assert.deepEqual(outcome, { kind: 'written', version: version + 2 })
  assert.deepEqual(await listAll(store), [{ key: 'a', value: 'new', version: version + 1 }])
  await failsWith('WTR_STORE_LIMIT', all([]))
  await failsWith('WTR_STORE_LIMIT', all([put2, put2]))
  const value = 'v'.repeat(VALUE_BYTES_MAX)
  const tooMuch = Array.from({ length: 12 }, (_, at) => ({ key: `k${at}`, expected: 0, value }))
  await failsWith('WTR_STORE_LIMIT', all(tooMuch))
  assert.deepEqual(await all(tooMuch.slice(1)), { kind: 'written', version: version + 13 })
}

async function closed(store: KeyValueStore): Promise<undefined> {
  await put(store, 'a', '1')
  await store.close()
  await store.close()
  await failsWith('WTR_STORE_UNAVAILABLE', store.get('a'))
  await failsWith('WTR_STORE_UNAVAILABLE', store.compareAndSet('a', 0, 'x'))
  await failsWith('WTR_STORE_UNAVAILABLE', listAll(store))
  await failsWith('WTR_STORE_UNAVAILABLE', firstOf(store))
}

async function firstOf(store: KeyValueStore): Promise<unknown> {
  for await (const change of store.watch('', new AbortController().signal)) return change
  return undefined
}

async function survival(store: KeyValueStore, { reopen }: ContractSubject): Promise<KeyValueStore> {
  const first = await put(store, 'a', 'one')
  for (const key of ODD_KEYS) await put(store, key, key)
  const last = await put(store, 'a', undefined, first)
  const before = await listAll(store)
  const again = await reopen!(store)
  assert.deepEqual(await listAll(again), before)
  const next = await put(again, 'a', 'two')
  assert.ok(next > last, `version ${next} came after ${last}`)
  return again
}
