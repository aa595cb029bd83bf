import type { KeyValueStore } from '../key-value-store.ts'
import { concurrencyCases } from './concurrency-cases.ts'
import { readAndWriteCases } from './read-and-write-cases.ts'
import { watchCases } from './watch-cases.ts'

/** How the suite gets at an implementation. */
export interface ContractSubject {
  /** A new store, empty, whose watchers' queues hold `watchQueueChangesMax` changes. The suite closes it. */
  create(): Promise<KeyValueStore>
  /** Closes the store and opens the same data again; omitted where nothing outlives `close`. */
  reopen?(store: KeyValueStore): Promise<KeyValueStore>
  /** A small number, so that a lagging watcher can be made with few writes. */
  readonly watchQueueChangesMax: number
}

/** One promise of the port: rejects with an `AssertionError` when it is broken. */
export interface ContractCase {
  readonly name: string
  run(): Promise<void>
}

/** What a case is written with. */
export interface CaseBody {
  readonly name: string
  readonly needsReopen?: boolean
  run(store: KeyValueStore, subject: ContractSubject): Promise<KeyValueStore | undefined>
}

/** All cases, each with a store of its own. */
export function keyValueStoreContract(subject: ContractSubject): readonly ContractCase[] {
  return [...readAndWriteCases, ...concurrencyCases, ...watchCases]
    .filter(({ needsReopen }) => needsReopen !== true || subject.reopen !== undefined)
    .map(({ name, run }) => ({
      name,
      run: async () => {
        const store = await subject.create()
        let last: KeyValueStore | undefined
        try {
          last = await run(store, subject)
        } finally {
          await (last ?? store).close()
        }
      },
    }))
}
