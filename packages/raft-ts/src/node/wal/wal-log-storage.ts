import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { assert, type Logger, silentLogger } from '@waiter/base'
import { ByteWriter, type EntryId, type HardState, type LogIndex, type LogReader } from '../../index.ts'
import { logFailed, logInUse, RaftNodeError } from '../errors.ts'
import type { LogBatch, LogStorage, SnapshotId, SnapshotSink, SnapshotSource } from '../log-storage.ts'
import { LogMirror } from '../mirror.ts'
import type { FileSystem, LockOutcome } from './file-system.ts'
import { nodeFileSystem } from './node-file-system.ts'
import { encodeEntry, encodeState, RECORD, RecordWriter } from './records.ts'
import { type Recovered, recover } from './recovery.ts'
import { Segments } from './segments.ts'
import { openSnapshotFile, SnapshotWriter, snapshotName } from './snapshot-file.ts'

/** Where a log lies, and what tests replace. */
export interface WalOptions {
  /** Made if missing. Belongs to this node alone. */
  readonly directory: string
  readonly fileSystem?: FileSystem
  readonly log?: Logger
  /** A longer file is closed and a new one begun. One batch may exceed it. */
  readonly segmentBytesMax?: number
  /** A new random 32-bit number; see `records.ts`. */
  readonly newSalt?: () => number
}

/** Long enough that a new file is rare, short enough that compaction gives space back soon. */
const SEGMENT_BYTES_MAX: number = 64 * 1024 * 1024

/** Whoever has locked this file owns the directory. */
const LOCK_NAME = 'lock'

type HeldLock = Extract<LockOutcome, { kind: 'locked' }>

type WalParts = Required<Pick<WalOptions, 'directory' | 'fileSystem' | 'segmentBytesMax'>> & { readonly lock: HeldLock }

/** How the disk is doing. */
export interface WalMetrics {
  readonly batches: number
  readonly syncs: number
  readonly bytesWritten: number
  readonly segments: number
}

/**
 * Opens the write-ahead log of one node: reads it, cuts off an unfinished last write, makes durable what was read.
 *
 * @throws {RaftNodeError} `RAFT_LOG_IN_USE` when another process has the directory; `RAFT_LOG_CORRUPT` when something is
 *   missing that was durable once
 */
export async function openWal(options: WalOptions): Promise<WalLogStorage> {
  const { directory, fileSystem = nodeFileSystem } = options
  await fileSystem.makeDirectory(directory)
  const lock = await fileSystem.lock(join(directory, LOCK_NAME))
  if (lock.kind === 'held') throw logInUse(directory, lock.by)
  try {
    return await openLocked(options, lock)
  } catch (error) {
    lock.release()
    throw error
  }
}

async function openLocked(options: WalOptions, lock: HeldLock): Promise<WalLogStorage> {
  const { directory, fileSystem = nodeFileSystem, log = silentLogger } = options
  const { segmentBytesMax = SEGMENT_BYTES_MAX, newSalt = () => randomInt(2 ** 32) } = options
  const recovered = await recover(fileSystem, directory, log)
  for (const name of recovered.leftovers) await fileSystem.remove(join(directory, name))
  const found = { segments: recovered.segments, bytes: recovered.lastSegmentBytes }
  const segments = new Segments({ directory, fileSystem, newSalt }, found)
  await segments.open(recovered.hardState, recovered.isTorn)
  const storage = new WalLogStorage({ directory, fileSystem, segmentBytesMax, lock }, segments, recovered)
  if (recovered.needsInstallRecord) {
    await storage.write({ hardState: recovered.hardState, snapshot: recovered.snapshot, entries: [] })
  }
  return storage
}

interface Job {
  /** undefined: only a commit index, which waits for no sync. */
  readonly batch: LogBatch | undefined
  resolve(): void
  reject(error: unknown): void
}

/** The write-ahead log of one node. Made by `openWal`. */
export class WalLogStorage implements LogStorage {
  readonly #options: WalParts
  readonly #segments: Segments
  readonly #mirror: LogMirror
  /** As of the last batch that was handed to the disk. */
  #writtenState: HardState
  #queue: Job[] = []
  #running: Promise<void> | undefined
  #failure: RaftNodeError | undefined
  #isClosed = false
  #metrics = { batches: 0, syncs: 0, bytesWritten: 0 }

  constructor(options: WalParts, segments: Segments, recovered: Recovered) {
    this.#options = options
    this.#segments = segments
    this.#mirror = new LogMirror(recovered)
    this.#writtenState = recovered.hardState
  }

  get reader(): LogReader {
    return this.#mirror.reader
  }

  get snapshot(): SnapshotId | undefined {
    return this.#mirror.snapshot
  }

  get metrics(): WalMetrics {
    return { ...this.#metrics, segments: this.#segments.count }
  }

  write(batch: LogBatch): Promise<void> {
    return this.#enqueue(batch)
  }

  noteCommit(commit: LogIndex): void {
    const { hardState } = this.#mirror
    if (commit <= hardState.commit || this.#failure !== undefined || this.#isClosed) return
    this.#mirror.setHardState({ ...hardState, commit })
    // A failure is kept, and shows in the next call.
    this.#enqueue(undefined).catch(() => undefined)
  }

  async saveSnapshot(id: SnapshotId, content: Iterable<Uint8Array>): Promise<void> {
    await this.#guard(async () => {
      const writer = await this.#createSnapshot(id)
      for (const bytes of content) await writer.write(bytes)
      await writer.finish()
      await this.#nameSnapshot(id)
      const previous = this.#mirror.snapshot
      this.#mirror.saved(id)
      // One of the two is superseded: the leader may have sent a newer one meanwhile.
      await this.#removeIfSuperseded(previous)
      await this.#removeIfSuperseded(id)
    })
  }

  async receiveSnapshot(id: SnapshotId): Promise<SnapshotSink> {
    const writer = await this.#guard(() => this.#createSnapshot(id))
    const { fileSystem } = this.#options
    let isOpen = true
    return {
      write: bytes => this.#guard(() => writer.write(bytes)),
      finish: () =>
        this.#guard(async () => {
          isOpen = false
          await writer.finish()
        }),
      abort: () =>
        this.#guard(async () => {
          if (isOpen) await writer.close()
          isOpen = false
          await fileSystem.remove(this.#temporaryPath(id))
        }),
    }
  }

  async openSnapshot({ index, term }: EntryId): Promise<SnapshotSource | undefined> {
    const newest = this.#mirror.snapshot
    if (newest === undefined || !isSame(newest, { index, term })) return undefined
    return openSnapshotFile(this.#options.fileSystem, this.#options.directory, newest)
  }

  async compact(through: LogIndex): Promise<void> {
    this.#mirror.compact(through)
    await this.#guard(() => this.#segments.dropThrough(through))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#running
    try {
      await this.#segments.close()
    } finally {
      this.#options.lock.release()
    }
  }

  #enqueue(batch: LogBatch | undefined): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    assert(!this.#isClosed, 'the log is closed')
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#queue.push({ batch, resolve, reject })
    this.#running ??= this.#run()
    return promise
  }

  // Takes whatever has queued up while the disk was busy, and makes it durable with one sync.
  async #run(): Promise<void> {
    // Lets everybody who writes in this turn of the event loop share the first sync.
    await undefined
    while (this.#queue.length > 0) {
      const jobs = this.#queue
      this.#queue = []
      try {
        if (this.#failure === undefined) await this.#carryOut(jobs)
      } catch (error) {
        this.#fail(error)
      }
      const failure = this.#failure
      for (const job of jobs) failure === undefined ? job.resolve() : job.reject(failure)
    }
    this.#running = undefined
  }

  async #carryOut(jobs: readonly Job[]): Promise<void> {
    const batches = jobs.flatMap(({ batch }) => batch ?? [])
    for (const { snapshot } of batches) if (snapshot !== undefined) await this.#nameSnapshot(snapshot)
    if (this.#segments.bytes >= this.#options.segmentBytesMax) await this.#segments.rotate(this.#writtenState)
    // A commit index on its own rides along with a batch, if there is one.
    if (batches.length === 0)
      await this.#append({ hardState: this.#mirror.hardState, snapshot: undefined, entries: [] })
    for (const batch of batches) await this.#append(batch)
    if (batches.length === 0) return
    await this.#segments.sync()
    this.#metrics.syncs++
    for (const batch of batches) await this.#becomeDurable(batch)
  }

  async #append({ hardState, snapshot, entries }: LogBatch): Promise<void> {
    const writer = new RecordWriter(this.#segments.salt)
    const state = hardState ?? { ...this.#writtenState, commit: this.#mirror.hardState.commit }
    // Not more than what stands before this batch: of a torn batch only the beginning survives.
    const before = Math.min(this.#mirror.lastIndex, (entries[0]?.index ?? Number.POSITIVE_INFINITY) - 1)
    const commit = Math.max(this.#writtenState.commit, Math.min(state.commit, before))
    this.#writtenState = { term: state.term, vote: state.vote, commit }
    writer.add(RECORD.state, encodeState({ ...this.#writtenState, durableBytes: this.#segments.durableBytes }))
    if (snapshot !== undefined) {
      const id = new ByteWriter().varint(snapshot.index).varint(snapshot.term).finish()
      writer.add(RECORD.snapshotInstalled, id)
      this.#segments.forgetAll()
    }
    for (const entry of entries) writer.add(RECORD.entry, encodeEntry(entry))
    const bytes = writer.finish()
    await this.#segments.append(bytes, entries.at(-1)?.index ?? 0)
    this.#metrics.batches++
    this.#metrics.bytesWritten += bytes.length
  }

  async #becomeDurable(batch: LogBatch): Promise<void> {
    const previous = this.#mirror.snapshot
    this.#mirror.apply(batch)
    if (batch.snapshot !== undefined) await this.#removeIfSuperseded(previous)
  }

  #createSnapshot(id: SnapshotId): Promise<SnapshotWriter> {
    return SnapshotWriter.create(this.#options.fileSystem, this.#temporaryPath(id), id)
  }

  async #nameSnapshot(id: SnapshotId): Promise<void> {
    // The one there is has its name already.
    if (isSame(this.#mirror.snapshot, id)) return
    const { directory, fileSystem } = this.#options
    await fileSystem.rename(this.#temporaryPath(id), join(directory, snapshotName(id)))
    await fileSystem.syncDirectory(directory)
  }

  // Only after a newer one is durable. Its removal need not be: a restart removes it again.
  async #removeIfSuperseded(id: SnapshotId | undefined): Promise<void> {
    if (id === undefined || isSame(this.#mirror.snapshot, id)) return
    await this.#options.fileSystem.remove(join(this.#options.directory, snapshotName(id)))
  }

  #temporaryPath(id: EntryId): string {
    return `${join(this.#options.directory, snapshotName(id))}.tmp`
  }

  async #guard<T>(run: () => Promise<T>): Promise<T> {
    if (this.#failure !== undefined) throw this.#failure
    try {
      return await run()
    } catch (error) {
      throw this.#fail(error)
    }
  }

  // After an error nobody knows what the disk holds, and asking it again does not tell (rule D8).
  #fail(error: unknown): RaftNodeError {
    this.#failure ??= error instanceof RaftNodeError ? error : logFailed(this.#options.directory, error)
    return this.#failure
  }
}

function isSame(a: EntryId | undefined, b: EntryId): boolean {
  return a?.index === b.index && a.term === b.term
}
