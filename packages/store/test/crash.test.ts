import { createPrng, silentLogger } from '@waiter/base'
import t from 'tap'
import { type KeyValueStore, openJournalStore, type ProcessTable } from '../src/index.ts'
import { type CrashFileSystem, createCrashFileSystem, type Loss } from './crash-file-system.ts'

/** Small, so that the script below compacts several times. */
const JOURNAL_BYTES_MAX = 400

/** Each start is another process, and the one before is gone. */
function open(fileSystem: CrashFileSystem, incarnation: number): Promise<KeyValueStore> {
  const processes: ProcessTable = { self: `${incarnation}`, isRunning: identity => identity === `${incarnation}` }
  return openJournalStore({
    directory: '/d',
    log: silentLogger,
    fileSystem,
    processes,
    journalBytesMax: JOURNAL_BYTES_MAX,
  })
}

/** What a client knows: what it was promised, and what it tried without an answer. */
interface Knowledge {
  readonly promised: Map<string, { readonly value: string | undefined; readonly version: number }>
  readonly attempted: Map<string, Set<string | undefined>>
  /** All that were promised, to whomever. */
  readonly versions: Set<number>
  readonly problems: string[]
}

/** Waves of concurrent writes of few keys: puts, overwrites, deletes, and a loser of each race. Ends at a failure. */
async function work(store: KeyValueStore, knowledge: Knowledge, seed: number): Promise<void> {
  const prng = createPrng(seed)
  for (let wave = 0; wave < 12; wave++) {
    const writes = Array.from({ length: 1 + prng.below(4) }, async (_, at) => {
      const key = `key-${(wave + at) % 5}`
      const value = prng.below(4) === 0 ? undefined : `${seed}-${wave}-${at}-${'x'.repeat(prng.below(60))}`
      const expected = (await store.get(key))?.version ?? 0
      const tried = knowledge.attempted.get(key) ?? new Set()
      knowledge.attempted.set(key, tried.add(value))
      const winner = store.compareAndSet(key, expected, value)
      const loser = store.compareAndSet(key, expected === 0 && value === undefined ? -1 : expected, 'loser')
      const noteWinner = winner.then(outcome => {
        if (outcome.kind !== 'written') return knowledge.problems.push(`${key}: nobody else writes it`)
        if (knowledge.versions.has(outcome.version)) knowledge.problems.push(`version ${outcome.version} used twice`)
        knowledge.versions.add(outcome.version)
        return knowledge.promised.set(key, { value, version: outcome.version })
      })
      const noteLoser = loser.then(outcome => {
        // What a conflict shows is as good as promised.
        if (outcome.kind === 'written') knowledge.problems.push(`${key}: two won`)
        else if (outcome.current !== undefined) knowledge.promised.set(key, outcome.current)
      })
      const failure = (await Promise.allSettled([noteWinner, noteLoser])).find(isRejected)
      if (failure !== undefined) throw failure.reason
      tried.clear()
    })
    const failure = (await Promise.allSettled(writes)).find(isRejected)
    if (failure !== undefined) throw failure.reason
  }
}

function isRejected(result: PromiseSettledResult<unknown>): result is PromiseRejectedResult {
  return result.status === 'rejected'
}

/** Every promise is kept, and whatever else is there was at least tried. */
async function findBrokenPromises(store: KeyValueStore, knowledge: Knowledge): Promise<string[]> {
  const broken: string[] = []
  const keys = new Set([...knowledge.promised.keys(), ...knowledge.attempted.keys()])
  for await (const { key } of store.list('')) keys.add(key)
  for (const key of keys) {
    const found = await store.get(key)
    const promised = knowledge.promised.get(key)
    const isKept = found?.value === promised?.value && (found === undefined || found.version === promised?.version)
    const wasTried = knowledge.attempted.get(key)?.has(found?.value) ?? false
    const isNewer = found === undefined || found.version > (promised?.version ?? 0)
    if (!isKept && !(wasTried && isNewer)) broken.push(`${key}: ${JSON.stringify({ found, promised })}`)
  }
  const probe = await store.compareAndSet('probe', (await store.get('probe'))?.version ?? 0, 'p')
  if (probe.kind !== 'written') broken.push('the probe was not written')
  else if (probe.version <= Math.max(0, ...knowledge.versions)) broken.push(`version ${probe.version} used twice`)
  else {
    knowledge.promised.set('probe', { value: 'p', version: probe.version })
    knowledge.versions.add(probe.version)
  }
  broken.push(...knowledge.problems.splice(0))
  return broken
}

async function countCalls(): Promise<number> {
  const fileSystem = createCrashFileSystem()
  const store = await open(fileSystem, 1)
  await work(store, newKnowledge(), 1)
  return fileSystem.calls()
}

function newKnowledge(): Knowledge {
  return { promised: new Map(), attempted: new Map(), versions: new Set(), problems: [] }
}

const losses: readonly Loss[] = ['all of it is lost', 'nothing is lost', 'any part is lost']

t.test('no promise is broken by a power failure at any call', async t => {
  const total = await countCalls()
  t.ok(total > 60, `the script makes ${total} calls`)
  for (const loss of losses) {
    const problems: string[] = []
    for (let call = 1; call <= total; call++) {
      for (let seed = 1; seed <= (loss === 'any part is lost' ? 8 : 1); seed++) {
        const fileSystem = createCrashFileSystem()
        const knowledge = newKnowledge()
        const prng = createPrng(call * 1000 + seed)
        fileSystem.failAt(call, 'crash')
        const store = await open(fileSystem, 1).catch(() => undefined)
        if (store !== undefined) await work(store, knowledge, 1).catch(() => undefined)
        fileSystem.restart(loss, prng)
        // A second failure, while the first is being mended.
        fileSystem.failAt(fileSystem.calls() + 1 + prng.below(25), 'crash')
        const second = await open(fileSystem, 2).catch(() => undefined)
        if (second !== undefined) await work(second, knowledge, 2).catch(() => undefined)
        fileSystem.restart(loss, prng)
        try {
          const third = await open(fileSystem, 3)
          const broken = await findBrokenPromises(third, knowledge)
          await work(third, knowledge, 3)
          await third.close()
          broken.push(...(await findBrokenPromises(await open(fileSystem, 4), knowledge)))
          problems.push(...broken.map(one => `call ${call}, seed ${seed}: ${one}`))
        } catch (error) {
          problems.push(`call ${call}, seed ${seed}: ${String(error)}`)
        }
      }
    }
    t.same(problems, [], loss)
  }
})

t.test('after an error of the disk nothing more is acknowledged, reads go on, and a restart mends it', async t => {
  const total = await countCalls()
  const problems: string[] = []
  let failures = 0
  for (let call = 1; call <= total; call++) {
    const fileSystem = createCrashFileSystem()
    const knowledge = newKnowledge()
    fileSystem.failAt(call, 'error')
    const store = await open(fileSystem, 1).catch(() => undefined)
    if (store !== undefined) {
      const failure = await work(store, knowledge, 1).catch(error => error)
      const probe = await store.compareAndSet('probe', 0, 'p').catch(error => error)
      if (failure !== undefined || probe.code !== undefined) {
        failures++
        if (probe.code !== 'WTR_STORE_UNAVAILABLE')
          problems.push(`call ${call}: a write was acknowledged after the error`)
        for (const [key, { value }] of knowledge.promised) {
          if ((await store.get(key))?.value !== value) problems.push(`call ${call}: ${key} cannot be read any more`)
        }
      } else knowledge.attempted.set('probe', new Set(['p']))
    }
    fileSystem.restart('all of it is lost', createPrng(call))
    const again = await open(fileSystem, 2)
    for (const broken of await findBrokenPromises(again, knowledge)) problems.push(`call ${call}: ${broken}`)
  }
  t.same(problems, [])
  t.ok(failures > 30, `${failures} runs saw the error`)
})

t.test('the enumeration notices a store that does not sync', async t => {
  for (const skipped of ['sync', 'syncDirectory'] as const) {
    let broken = 0
    const total = await countCalls()
    for (let call = 1; call <= total; call++) {
      const fileSystem = createCrashFileSystem()
      const lazy: CrashFileSystem = {
        ...fileSystem,
        ...(skipped === 'syncDirectory' ? { syncDirectory: async () => undefined } : {}),
        open: async (path, mode) => {
          const file = await fileSystem.open(path, mode)
          return skipped === 'sync' ? { ...file, sync: async () => undefined } : file
        },
      }
      const knowledge = newKnowledge()
      fileSystem.failAt(call, 'crash')
      const store = await open(lazy, 1).catch(() => undefined)
      if (store !== undefined) await work(store, knowledge, 1).catch(() => undefined)
      fileSystem.restart('all of it is lost', createPrng(call))
      const again = await open(fileSystem, 2).catch(() => undefined)
      if (again === undefined || (await findBrokenPromises(again, knowledge)).length > 0) broken++
    }
    t.not(broken, 0, skipped)
  }
})
