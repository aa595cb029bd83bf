import { silentLogger } from '@waiter/base'
import t, { type Test } from 'tap'
import { type ContractCase, type ContractSubject, keyValueStoreContract } from '../src/contract/index.ts'
import { createMemoryStore, type KeyValueStore, openJournalStore } from '../src/index.ts'

const watchQueueChangesMax = 16
const watchLimits = { queueChangesMax: watchQueueChangesMax }
const run = async (t: Test, contract: ContractSubject, label: string) => {
  for (const { name, run } of keyValueStoreContract(contract)) await t.resolves(run(), `${label}: ${name}`)
}

t.test('memory', t =>
  run(t, { create: async () => createMemoryStore({ watchLimits }), watchQueueChangesMax }, 'memory'),
)

t.test('journal', async t => {
  const root = t.testdir()
  let count = 0
  for (const journalBytesMax of [2 ** 20, 200]) {
    const directories = new Map<KeyValueStore, string>()
    const open = async (directory: string) => {
      const store = await openJournalStore({ directory, log: silentLogger, watchLimits, journalBytesMax })
      directories.set(store, directory)
      return store
    }
    await run(
      t,
      {
        create: () => open(`${root}/a/${++count}`),
        reopen: async store => {
          await store.close()
          return open(directories.get(store) as string)
        },
        watchQueueChangesMax,
      },
      `journal, snapshot every ${journalBytesMax} bytes`,
    )
  }
})

t.test('the suite notices broken promises', async t => {
  const spoil = (change: (store: KeyValueStore) => Partial<KeyValueStore>) => async () => {
    const store = createMemoryStore({ watchLimits })
    return { ...store, ...change(store) }
  }
  const planted: Record<string, () => Promise<KeyValueStore>> = {
    'ignores the expected version': spoil(store => ({
      compareAndSet: async (key, _, value) => store.compareAndSet(key, (await store.get(key))?.version ?? 0, value),
    })),
    'decides before it writes': spoil(store => ({
      compareAndSet: async (key, expected, value) => {
        const current = await store.get(key)
        if ((current?.version ?? 0) !== expected) return { kind: 'conflict', current }
        await new Promise(setImmediate)
        return store.compareAndSet(key, (await store.get(key))?.version ?? 0, value)
      },
    })),
    'lists backwards': spoil(store => ({
      list: async function* (prefix) {
        const entries = []
        for await (const entry of store.list(prefix)) entries.unshift(entry)
        yield* entries
      },
    })),
    'drops every tenth change': spoil(store => ({
      watch: async function* (prefix, signal) {
        for await (const change of store.watch(prefix, signal)) {
          if (change.kind !== 'put' || change.entry.version % 10 !== 0) yield change
        }
      },
    })),
    'never says synced': spoil(store => ({
      watch: async function* (prefix, signal) {
        for await (const change of store.watch(prefix, signal)) if (change.kind !== 'synced') yield change
      },
    })),
    'goes on after close': spoil(() => ({ close: async () => undefined })),
  }
  const brokenNames = async (cases: readonly ContractCase[]) => {
    const names: string[] = []
    for (const { name, run } of cases) {
      const hung = new Promise<string>(resolve => setTimeout(resolve, 300, 'hung'))
      const result = await Promise.race([
        run().then(
          () => 'kept',
          () => 'broken',
        ),
        hung,
      ])
      if (result !== 'kept') names.push(name)
    }
    return names
  }
  for (const [name, create] of Object.entries(planted)) {
    t.not((await brokenNames(keyValueStoreContract({ create, watchQueueChangesMax }))).length, 0, name)
  }
})
