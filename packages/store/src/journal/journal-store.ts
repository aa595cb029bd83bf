import type { Logger } from '@waiter/base'
import { storeUnavailable } from '../errors.ts'
import type { Key, KeyValueStore, Outcome, Version, Versioned } from '../key-value-store.ts'
import { checkKey, checkValue, WRITES_QUEUED_MAX } from '../limits.ts'
import { createStoreState, type StateChange, type StoreState } from '../store-state.ts'
import type { WatchLimits } from '../watch-hub.ts'
import type { FileSystem } from './file-system.ts'
import { type Journal, openJournal } from './journal.ts'
import { acquireLock, nodeProcesses, type ProcessTable } from './lock.ts'
import { nodeFileSystem } from './node-file-system.ts'

/** Where the data lies, and what tests replace. */
export interface JournalStoreOptions {
  /** Made if missing. Belongs to this store alone. */
  readonly directory: string
  readonly log: Logger
  readonly fileSystem?: FileSystem
  readonly processes?: ProcessTable
  /** A longer journal is replaced by a snapshot. */
  readonly journalBytesMax?: number
  readonly watchLimits?: Partial<WatchLimits>
}

/** Replaying this much takes well under a second. */
const JOURNAL_BYTES_MAX = 16 * 2 ** 20

/** One sync covers at most this much, so that a burst of large values does not delay everybody. */
const BATCH_WRITES_MAX = 1024
const BATCH_BYTES_MAX = 4 * 2 ** 20

/**
 * A store on the local disk. A write is acknowledged when it is durable; concurrent writes share one sync. Everything
 * is held in memory too: reads never touch the disk, and see only what is durable.
 *
 * After an error of the disk the store answers reads, and refuses all writes with `WTR_STORE_UNAVAILABLE` until it is
 * opened again: after a failed sync nobody knows what the disk holds.
 *
 * @throws {WaiterError} `WTR_STORE_CORRUPT`, or `WTR_STORE_UNAVAILABLE` when another process has the directory
 */
export async function openJournalStore(options: JournalStoreOptions): Promise<KeyValueStore> {
  const { directory, log, fileSystem = nodeFileSystem, processes = nodeProcesses } = options
  await fileSystem.makeDirectory(directory)
  const release = await acquireLock({ directory, fileSystem, processes, log })
  try {
    const journalBytesMax = options.journalBytesMax ?? JOURNAL_BYTES_MAX
    const { journal, recovered } = await openJournal({ directory, fileSystem, log, journalBytesMax })
    const { entries, version } = recovered
    const watchLimits = options.watchLimits ?? {}
    const state = createStoreState({ entries: entries.values(), version, watchLimits })
    return createStore({ directory, log, journal, state, release })
  } catch (error) {
    await release().catch(() => undefined)
    throw error
  }
}

interface Parts {
  readonly directory: string
  readonly log: Logger
  readonly journal: Journal
  readonly state: StoreState
  readonly release: () => Promise<void>
}

function createStore({ directory, log, journal, state, release }: Parts): KeyValueStore {
  const writer = createWriter({ directory, log, journal, state, release })
  let closing: Promise<void> | undefined
  const checkOpen = (): void => {
    if (closing !== undefined) throw storeUnavailable('The store is closed.')
  }
  return {
    get: async key => {
      checkOpen()
      return state.get(key)
    },
    compareAndSet: async (key, expected, value) => {
      checkOpen()
      checkKey(key)
      if (value !== undefined) checkValue(value)
      return writer.write({ key, expected, value })
    },
    list: async function* (prefix: Key) {
      checkOpen()
      yield* state.list(prefix)
    },
    watch: async function* (prefix, signal) {
      checkOpen()
      yield* state.watch(prefix, signal)
    },
    close: () => {
      closing ??= (async () => {
        await writer.drained()
        state.endWatches()
        try {
          await journal.close()
        } finally {
          await release()
        }
      })()
      return closing
    },
  }
}

interface Write {
  readonly key: Key
  readonly expected: Version
  readonly value: string | undefined
}

interface QueuedWrite extends Write {
  resolve(outcome: Outcome): void
  reject(error: unknown): void
}

interface Writer {
  write(write: Write): Promise<Outcome>
  /** Resolves when nothing is queued or under way. */
  drained(): Promise<void>
}

/** Takes whatever has queued up while the disk was busy, and commits it with one sync. */
function createWriter({ directory, log, journal, state }: Parts): Writer {
  let queue: QueuedWrite[] = []
  let failure: unknown
  let running: Promise<void> | undefined

  const unavailable = (): unknown =>
    storeUnavailable(
      `The store in ${directory} takes no more writes since the disk failed; its log says how. Mend the disk (is it ` +
        'full?) and restart this process.',
      failure,
    )
  const run = async (): Promise<void> => {
    // Lets everybody who writes in this turn of the event loop join the first batch.
    await undefined
    while (queue.length > 0) {
      const batch = takeBatch(queue)
      queue = queue.slice(batch.length)
      try {
        if (failure === undefined) await commit(batch, { journal, state })
      } catch (error) {
        failure = error
        log.error({ directory, error }, 'the disk failed: the store takes no more writes until it is opened again')
      }
      if (failure !== undefined) for (const write of batch) write.reject(unavailable())
    }
    running = undefined
  }
  return {
    write: write => {
      if (queue.length >= WRITES_QUEUED_MAX) {
        throw storeUnavailable(
          `The store in ${directory} is overloaded: ${WRITES_QUEUED_MAX} writes wait for the disk.`,
        )
      }
      if (failure !== undefined) throw unavailable()
      const { promise, resolve, reject } = Promise.withResolvers<Outcome>()
      queue.push({ ...write, resolve, reject })
      running ??= run()
      return promise
    },
    drained: () => running ?? Promise.resolve(),
  }
}

function takeBatch(queue: readonly QueuedWrite[]): QueuedWrite[] {
  let bytes = 0
  let count = 0
  for (const { value } of queue) {
    bytes += value?.length ?? 0
    if (count > 0 && (bytes > BATCH_BYTES_MAX || count >= BATCH_WRITES_MAX)) break
    count++
  }
  return queue.slice(0, count)
}

/**
 * Decides each write on top of those before it, makes the successful ones durable, and only then tells anybody: also a
 * conflict, since what it conflicts with may have been written a moment ago, in the same batch.
 */
async function commit(
  batch: readonly QueuedWrite[],
  { journal, state }: Pick<Parts, 'journal' | 'state'>,
): Promise<void> {
  const pending = new Map<Key, Versioned | undefined>()
  const changes: StateChange[] = []
  const outcomes = batch.map(({ key, expected, value }): Outcome => {
    const current = pending.has(key) ? pending.get(key) : state.get(key)
    if ((current?.version ?? 0) !== expected) return { kind: 'conflict', current }
    const version = state.version() + changes.length + 1
    const entry = value === undefined ? undefined : { key, value, version }
    changes.push(entry === undefined ? { kind: 'delete', key, version } : { kind: 'put', entry })
    pending.set(key, entry)
    return { kind: 'written', version }
  })
  if (changes.length > 0) await journal.append(changes)
  for (const change of changes) state.apply(change)
  for (const [at, write] of batch.entries()) write.resolve(outcomes[at] as Outcome)
  if (journal.isLong()) await journal.compact(state.list(''), state.version())
}
