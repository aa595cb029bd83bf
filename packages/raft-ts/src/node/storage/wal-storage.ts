import { assert, WaiterError } from '@waiter/base'
import { ByteWriter, type Entry, type HardState, type LogIndex, type Snapshot } from '../../index.ts'
import { encodeSnapshot, writeEntry, writeHardState } from './codec.ts'
import type { LogFile, LogFolder } from './file-system.ts'
import type { DurableState, LogBatch, LogStorage } from './log-storage.ts'
import { encodeRecord } from './records.ts'
import { BATCH_FLAGS, type KnownSegment, recover, segmentName, snapshotName } from './recovery.ts'

/** How the log is cut into files. */
export interface WalOptions {
  /** A segment that has grown beyond this is followed by a new one. */
  readonly maxSegmentBytes?: number
}

const DEFAULT_SEGMENT_BYTES = 64 * 1024 * 1024
/** Entries merged into one record and one sync, at most about so many: bounds memory and the length of a torn tail. */
const MAX_GROUP_ENTRIES = 4096

type Job = (
  | { readonly kind: 'batch'; readonly batch: LogBatch }
  | { readonly kind: 'snapshot'; readonly snapshot: Snapshot; readonly discardThrough: LogIndex }
) & { readonly resolve: () => void; readonly reject: (error: unknown) => void }

/**
 * A write-ahead log in segments, with snapshots beside it. Each group of batches is one record, one write and one sync;
 * batches that arrive during a sync share the next. After any failure it refuses everything: the node must end (D8).
 */
export class WalStorage implements LogStorage {
  readonly initial: DurableState
  readonly #folder: LogFolder
  readonly #maxSegmentBytes: number
  readonly #jobs: Job[] = []
  #running: Promise<void> | undefined
  #failure: WaiterError | undefined
  #hardState: HardState
  #commitHint: LogIndex = 0
  #lastIndex: LogIndex
  /** Older segments, oldest first. */
  #segments: KnownSegment[]
  #snapshotIndex: LogIndex
  #file!: LogFile
  #sequence = 0
  #bytes = 0

  private constructor(
    folder: LogFolder,
    options: WalOptions,
    found: DurableState & { segments: readonly KnownSegment[] },
  ) {
    this.#folder = folder
    this.#maxSegmentBytes = options.maxSegmentBytes ?? DEFAULT_SEGMENT_BYTES
    this.initial = { hardState: found.hardState, snapshot: found.snapshot, entries: found.entries }
    this.#hardState = found.hardState
    this.#snapshotIndex = found.snapshot?.index ?? 0
    this.#lastIndex = found.entries.at(-1)?.index ?? this.#snapshotIndex
    this.#segments = [...found.segments]
    this.#sequence = found.segments.at(-1)?.sequence ?? 0
  }

  /**
   * Reads a folder, repairs an unfinished last write and begins a new segment.
   *
   * @throws {WaiterError} `RAFT_STORAGE_CORRUPT`, saying what is damaged; nothing was changed
   */
  static async open(folder: LogFolder, options: WalOptions = {}): Promise<WalStorage> {
    const found = await recover(folder)
    const storage = new WalStorage(folder, options, found)
    await storage.#beginSegment()
    return storage
  }

  append(batch: LogBatch): Promise<void> {
    return this.#enqueue(callbacks => ({ kind: 'batch', batch, ...callbacks }))
  }

  hintCommit(commit: LogIndex): void {
    this.#commitHint = Math.max(this.#commitHint, commit)
  }

  saveSnapshot(snapshot: Snapshot, discardThrough: LogIndex): Promise<void> {
    assert(discardThrough <= snapshot.index, `discarding ${discardThrough} beyond the snapshot at ${snapshot.index}`)
    return this.#enqueue(callbacks => ({ kind: 'snapshot', snapshot, discardThrough, ...callbacks }))
  }

  async close(): Promise<void> {
    await this.#running
    this.#failure ??= failed('it is closed')
    await this.#file.close()
  }

  #enqueue(makeJob: (callbacks: Pick<Job, 'resolve' | 'reject'>) => Job): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#jobs.push(makeJob({ resolve, reject }))
    this.#running ??= this.#run()
    return promise
  }

  async #run(): Promise<void> {
    // One turn later, so that everything asked for in this one shares the first sync.
    await Promise.resolve()
    while (this.#jobs.length > 0) {
      const group = this.#takeGroup()
      try {
        if (this.#failure !== undefined) throw this.#failure
        await this.#perform(group)
        for (const job of group) job.resolve()
      } catch (error) {
        this.#failure ??= failed('a write failed', error)
        for (const job of group) job.reject(this.#failure)
      }
    }
    this.#running = undefined
  }

  /** The next jobs that can be one record: batches up to the next snapshot. */
  #takeGroup(): readonly Job[] {
    let [count, entries] = [0, 0]
    for (const job of this.#jobs) {
      const isAlone = job.kind === 'snapshot' || job.batch.snapshot !== undefined
      if (count > 0 && (isAlone || entries >= MAX_GROUP_ENTRIES)) break
      count++
      if (job.kind === 'snapshot') break
      entries += job.batch.entries.length
    }
    return this.#jobs.splice(0, count)
  }

  async #perform(group: readonly Job[]): Promise<void> {
    const [first] = group
    if (first?.kind === 'snapshot') {
      await this.#writeSnapshot(first.snapshot)
      await this.#discard(first.discardThrough)
      return
    }
    const batches = group.flatMap(job => (job.kind === 'batch' ? [job.batch] : []))
    const snapshot = batches[0]?.snapshot
    if (snapshot !== undefined) await this.#writeSnapshot(snapshot)
    await this.#writeBatches(batches, snapshot)
    if (snapshot !== undefined) await this.#dropOldSnapshots()
    if (this.#bytes > this.#maxSegmentBytes) await this.#rotate()
  }

  async #writeBatches(batches: readonly LogBatch[], snapshot: Snapshot | undefined): Promise<void> {
    const entries = batches.flatMap(batch => batch.entries)
    const given = batches.findLast(batch => batch.hardState !== undefined)?.hardState ?? this.#hardState
    if (snapshot !== undefined) this.#lastIndex = snapshot.index
    this.#lastIndex = entries.at(-1)?.index ?? this.#lastIndex
    const commit = Math.max(given.commit, Math.min(this.#commitHint, this.#lastIndex))
    this.#hardState = { ...given, commit }
    await this.#writeRecord(encodeBatch({ hardState: this.#hardState, snapshot, entries }))
  }

  async #writeRecord(payload: Uint8Array): Promise<void> {
    const record = encodeRecord(payload, this.#bytes)
    await this.#file.append(record)
    await this.#file.sync()
    this.#bytes += record.length
  }

  /** Written aside, synced, then named: a snapshot that has its name is whole. */
  async #writeSnapshot(snapshot: Snapshot): Promise<void> {
    const name = snapshotName(snapshot.index)
    const file = await this.#folder.create(`${name}.tmp`)
    await file.append(encodeRecord(encodeSnapshot(snapshot), 0))
    await file.sync()
    await file.close()
    await this.#folder.rename(`${name}.tmp`, name)
    await this.#folder.sync()
    this.#snapshotIndex = snapshot.index
  }

  async #discard(through: LogIndex): Promise<void> {
    await this.#rotate()
    while (this.#segments.length > 0 && this.#segments[0]!.lastIndex <= through) {
      await this.#folder.remove(segmentName(this.#segments[0]!.sequence))
      // One after another, durably: a gap between segments would look like damage.
      await this.#folder.sync()
      this.#segments.shift()
    }
    await this.#dropOldSnapshots()
  }

  async #dropOldSnapshots(): Promise<void> {
    const newest = snapshotName(this.#snapshotIndex)
    for (const name of await this.#folder.list()) {
      if (/^snap-\d{16}\.bin$/.test(name) && name < newest) await this.#folder.remove(name)
    }
    await this.#folder.sync()
  }

  async #rotate(): Promise<void> {
    await this.#file.close()
    this.#segments.push({ sequence: this.#sequence, lastIndex: this.#lastIndex })
    await this.#beginSegment()
  }

  /** A segment starts with term and vote, so that older ones can be deleted. */
  async #beginSegment(): Promise<void> {
    this.#sequence++
    this.#file = await this.#folder.create(segmentName(this.#sequence))
    this.#bytes = 0
    await this.#writeRecord(encodeBatch({ hardState: this.#hardState, snapshot: undefined, entries: [] }))
    await this.#folder.sync()
  }
}

function encodeBatch(batch: {
  hardState: HardState
  snapshot: Snapshot | undefined
  entries: readonly Entry[]
}): Uint8Array {
  const writer = new ByteWriter(256)
  writer.varint(BATCH_FLAGS.hardState + (batch.snapshot === undefined ? 0 : BATCH_FLAGS.snapshot))
  writeHardState(writer, batch.hardState)
  if (batch.snapshot !== undefined) writer.varint(batch.snapshot.index).varint(batch.snapshot.term)
  writer.varint(batch.entries.length)
  for (const entry of batch.entries) writeEntry(writer, entry)
  return writer.finish()
}

function failed(what: string, cause?: unknown): WaiterError {
  const message = `The Raft log cannot be written: ${what}. This node stops; restart it once the disk is well.`
  return new WaiterError(message, { code: 'RAFT_STORAGE_FAILED', ...(cause === undefined ? {} : { cause }) })
}
