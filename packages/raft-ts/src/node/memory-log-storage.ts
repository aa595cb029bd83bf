import { assert, type Prng } from '@waiter/base'
import { EMPTY_HARD_STATE, type Entry, type EntryId, type HardState, type LogIndex, type LogReader } from '../index.ts'
import type { LogBatch, LogStorage, SnapshotId, SnapshotSink, SnapshotSource } from './log-storage.ts'
import { LogMirror, type MirrorContent } from './mirror.ts'

/**
 * What a `MemoryLogStorage` writes to: outlives it like a disk outlives a process. For tests, and for nodes that may
 * forget everything (under a new id each time, rule D7).
 */
export class MemoryDisk {
  #hardState: HardState = EMPTY_HARD_STATE
  #snapshot: SnapshotId | undefined
  /** Right after the snapshot, without gaps. */
  #entries: Entry[] = []
  #snapshotBytes: Uint8Array = new Uint8Array(0)
  #pending: LogBatch[] = []
  /** Grows with every crash: what was opened before is cut off. */
  epoch = 0

  get content(): MirrorContent {
    return { hardState: this.#hardState, snapshot: this.#snapshot, entries: [...this.#entries] }
  }

  get snapshotBytes(): Uint8Array {
    return this.#snapshotBytes
  }

  /** Received and not yet named by a batch. */
  incoming: { readonly id: SnapshotId; readonly bytes: Uint8Array } | undefined

  begin(batch: LogBatch): void {
    this.#pending.push(batch)
  }

  /** Everything begun is durable. */
  finish(): readonly LogBatch[] {
    const batches = this.#pending
    this.#pending = []
    for (const batch of batches) this.#apply(batch)
    return batches
  }

  saveSnapshot(id: SnapshotId, bytes: Uint8Array): void {
    if (id.index <= (this.#snapshot?.index ?? 0)) return
    this.#snapshotBytes = bytes
    this.#entries = this.#entries.filter(entry => entry.index > id.index)
    this.#snapshot = id
  }

  /** The process dies. Of what was begun and not finished, any beginning survives. */
  crash(random: Prng): void {
    this.epoch++
    const pending = this.#pending
    this.#pending = []
    this.incoming = undefined
    const whole = random.below(pending.length + 1)
    for (const batch of pending.slice(0, whole)) this.#apply(batch)
    const torn = pending[whole]
    if (torn === undefined || torn.snapshot !== undefined || random.next() < 0.5) return
    const entries = torn.entries.slice(0, random.below(torn.entries.length + 1))
    const commit = Math.min(torn.hardState?.commit ?? 0, (torn.entries[0]?.index ?? Number.POSITIVE_INFINITY) - 1)
    const hardState = torn.hardState && { ...torn.hardState, commit: Math.max(commit, this.#hardState.commit) }
    this.#apply({ hardState, snapshot: undefined, entries })
  }

  #apply({ hardState, snapshot, entries }: LogBatch): void {
    if (snapshot !== undefined) {
      assert(this.incoming?.id.index === snapshot.index, `the snapshot at ${snapshot.index} was not received`)
      this.#snapshotBytes = this.incoming.bytes
      this.#snapshot = snapshot
      this.#entries = []
      this.incoming = undefined
    }
    for (const entry of entries) {
      const position = entry.index - (this.#entries[0]?.index ?? entry.index)
      if (position < this.#entries.length) this.#entries.length = Math.max(0, position)
      this.#entries.push(entry)
    }
    if (hardState !== undefined) this.#hardState = hardState
  }
}

/** The storage port over a `MemoryDisk`: durable as soon as the present turn of the event loop has ended. */
export class MemoryLogStorage implements LogStorage {
  readonly #disk: MemoryDisk
  readonly #mirror: LogMirror
  readonly #epoch: number
  #running: Promise<void> | undefined
  #isClosed = false

  constructor(disk: MemoryDisk = new MemoryDisk()) {
    this.#disk = disk
    this.#epoch = disk.epoch
    const { content } = disk
    const { snapshot } = content
    const term = Math.max(content.hardState.term, snapshot?.term ?? 0)
    const vote = term > content.hardState.term ? 0 : content.hardState.vote
    const commit = Math.max(content.hardState.commit, snapshot?.index ?? 0)
    this.#mirror = new LogMirror({ ...content, hardState: { term, vote, commit } })
  }

  get reader(): LogReader {
    return this.#mirror.reader
  }

  get snapshot(): SnapshotId | undefined {
    return this.#mirror.snapshot
  }

  write(batch: LogBatch): Promise<void> {
    this.#check()
    this.#disk.begin(batch)
    this.#running ??= this.#finishSoon()
    return this.#running
  }

  noteCommit(commit: LogIndex): void {
    const { hardState } = this.#mirror
    if (commit > hardState.commit) this.#mirror.setHardState({ ...hardState, commit })
  }

  async saveSnapshot(id: SnapshotId, content: Iterable<Uint8Array>): Promise<void> {
    this.#check()
    const bytes = Buffer.concat([...content])
    await this.#turn()
    this.#disk.saveSnapshot(id, bytes)
    this.#mirror.saved(id)
  }

  async receiveSnapshot(id: SnapshotId): Promise<SnapshotSink> {
    this.#check()
    const pieces: Uint8Array[] = []
    return {
      write: async bytes => {
        pieces.push(Buffer.from(bytes))
      },
      finish: async () => {
        await this.#turn()
        this.#disk.incoming = { id, bytes: Buffer.concat(pieces) }
      },
      abort: async () => {
        if (this.#disk.incoming?.id === id) this.#disk.incoming = undefined
      },
    }
  }

  async openSnapshot({ index, term }: EntryId): Promise<SnapshotSource | undefined> {
    const id = this.#mirror.snapshot
    if (id === undefined || id.index !== index || id.term !== term) return undefined
    const bytes = this.#disk.snapshotBytes
    return {
      id,
      totalBytes: bytes.length,
      chunks: async function* () {
        if (bytes.length > 0) yield bytes
      },
      close: async () => undefined,
    }
  }

  async compact(through: LogIndex): Promise<void> {
    this.#mirror.compact(through)
  }

  async close(): Promise<void> {
    await this.#running
    this.#isClosed = true
  }

  async #finishSoon(): Promise<void> {
    await this.#turn()
    for (const batch of this.#disk.finish()) this.#mirror.apply(batch)
    this.#running = undefined
  }

  /** Ends when others had their turn; never, when the process this belongs to has died meanwhile. */
  async #turn(): Promise<void> {
    await undefined
    if (this.#epoch !== this.#disk.epoch) await new Promise<never>(() => undefined)
  }

  #check(): void {
    assert(!this.#isClosed, 'the log is closed')
  }
}
