import assert from 'node:assert/strict'
import type { KeyValueStore, Version } from '../key-value-store.ts'
import { listAll, put, written } from './helpers.ts'
import type { CaseBody } from './key-value-store-contract.ts'

const WRITERS = 20
const INCREMENTS = 10

/** Many at once. */
export const concurrencyCases: readonly CaseBody[] = [
  { name: 'of many who write a key at once one wins, and the others see what it wrote', run: oneWinner },
  { name: 'no increment is lost between concurrent writers', run: counter },
  { name: 'a read after an acknowledged write sees it, whatever else goes on', run: readYourWrites },
  { name: 'concurrent writes of different keys all get versions of their own', run: distinctVersions },
  { name: 'a list is of one moment', run: consistentList },
]

async function oneWinner(store: KeyValueStore): Promise<undefined> {
  const names = Array.from({ length: WRITERS }, (_, writer) => `writer ${writer}`)
  const outcomes = await Promise.all(names.map(name => store.compareAndSet('k', 0, name)))
  const winners = names.filter((_, writer) => outcomes[writer]?.kind === 'written')
  assert.equal(winners.length, 1)
  const current = await store.get('k')
  assert.equal(current?.value, winners[0])
  for (const outcome of outcomes) if (outcome.kind === 'conflict') assert.deepEqual(outcome.current, current)
}

async function counter(store: KeyValueStore): Promise<undefined> {
  const increment = async (): Promise<void> => {
    for (let current = await store.get('count'); ; ) {
      const next = String(Number(current?.value ?? 0) + 1)
      const outcome = await store.compareAndSet('count', current?.version ?? 0, next)
      if (outcome.kind === 'written') return
      current = outcome.current
    }
  }
  const writer = async (): Promise<void> => {
    for (let count = 0; count < INCREMENTS; count++) await increment()
  }
  await Promise.all(Array.from({ length: WRITERS }, writer))
  assert.equal((await store.get('count'))?.value, String(WRITERS * INCREMENTS))
}

async function readYourWrites(store: KeyValueStore): Promise<undefined> {
  const writer = async (_: unknown, name: number): Promise<void> => {
    let version: Version = 0
    for (let count = 0; count < INCREMENTS; count++) {
      version = await put(store, `key-${name}`, String(count), version)
      assert.deepEqual(await store.get(`key-${name}`), { key: `key-${name}`, value: String(count), version })
    }
  }
  await Promise.all(Array.from({ length: WRITERS }, writer))
}

async function distinctVersions(store: KeyValueStore): Promise<undefined> {
  const outcomes = await Promise.all(
    Array.from({ length: WRITERS * INCREMENTS }, (_, at) => store.compareAndSet(`key-${at}`, 0, 'x')),
  )
  const versions = outcomes.map(written).sort((a, b) => a - b)
  assert.deepEqual(
    versions,
    Array.from(versions, (_, at) => (versions[0] as number) + at),
  )
}

/** `b` is always written after `a`: no moment has a newer `b`. */
async function consistentList(store: KeyValueStore): Promise<undefined> {
  let isDone = false
  const write = async (): Promise<void> => {
    let versionA: Version = 0
    let versionB: Version = 0
    for (let count = 1; count <= WRITERS; count++) {
      versionA = await put(store, 'a', String(count), versionA)
      versionB = await put(store, 'b', String(count), versionB)
    }
    isDone = true
  }
  const read = async (): Promise<void> => {
    while (!isDone) {
      const values = new Map((await listAll(store)).map(({ key, value }) => [key, Number(value)]))
      const lead = (values.get('a') ?? 0) - (values.get('b') ?? 0)
      assert.ok(lead === 0 || lead === 1, `a leads b by ${lead}`)
      await new Promise(setImmediate)
    }
  }
  await Promise.all([write(), read()])
}
