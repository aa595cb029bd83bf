import type { LogIndex, Ready } from '../index.ts'
import type { RaftNodeEvent, RaftNodeMetrics } from './events.ts'
import type { LogStorage } from './log-storage.ts'

/** What it is made of. */
export interface LogWriterOptions {
  readonly storage: LogStorage
  readonly metrics: RaftNodeMetrics
  readonly tickMs: number
  /** A write that is out for so long stalls. */
  readonly stallTicks: number
  readonly tell: (event: RaftNodeEvent) => void
}

/** Writes to the disk, one at a time, and says when it does not answer. */
export class LogWriter {
  readonly #options: LogWriterOptions
  /** Tick in which the write that is out began; undefined: none is out. */
  #sinceTick: number | undefined
  #isStallTold = false
  /** A commit index that the disk has not been told of; 0: none. */
  #commitToNote: LogIndex = 0

  constructor(options: LogWriterOptions) {
    this.#options = options
  }

  /** Resolves when it is durable. */
  async write({ hardState, snapshot, entries }: Ready): Promise<void> {
    const { storage, metrics, tickMs, tell } = this.#options
    // The batch says how far the log is committed.
    this.#commitToNote = 0
    this.#sinceTick = metrics.ticks
    metrics.writes++
    metrics.entriesWritten += entries.length
    await storage.write({ hardState, snapshot, entries })
    const ticks = metrics.ticks - this.#sinceTick
    this.#sinceTick = undefined
    if (!this.#isStallTold) return
    this.#isStallTold = false
    tell({ kind: 'storageRecovered', afterMs: ticks * tickMs })
  }

  /** How far the log is committed, which on its own can wait for the next tick. */
  noteLater(commit: LogIndex): void {
    this.#commitToNote = commit
  }

  note(): void {
    if (this.#commitToNote > 0) this.#options.storage.noteCommit(this.#commitToNote)
    this.#commitToNote = 0
  }

  tick(): void {
    this.note()
    const { metrics, tickMs, stallTicks, tell } = this.#options
    const stalledTicks = metrics.ticks - (this.#sinceTick ?? metrics.ticks)
    if (stalledTicks < stallTicks || this.#isStallTold) return
    this.#isStallTold = true
    metrics.storageStalls++
    tell({ kind: 'storageStalled', sinceMs: stalledTicks * tickMs })
  }
}
