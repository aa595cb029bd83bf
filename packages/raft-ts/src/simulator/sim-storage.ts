import { type InitialLog, MemoryStorage } from '../memory-storage.ts'
import type { Entry, LogIndex, Snapshot } from '../types.ts'

/** The readable log of a simulated node: snapshots for slow followers are taken when asked for. */
export class SimStorage extends MemoryStorage {
  readonly #takeSnapshot: () => Snapshot | undefined

  constructor(initial: InitialLog, takeSnapshot: () => Snapshot | undefined) {
    super(initial)
    this.#takeSnapshot = takeSnapshot
  }

  override snapshot(): Snapshot | undefined {
    return this.#takeSnapshot()
  }

  /** The planted bug of rule D4: entries after the snapshot survive it. */
  restoreKeepingTail(snapshot: Snapshot): void {
    const tail: readonly Entry[] = this.#readFrom(snapshot.index + 1)
    this.restore(snapshot)
    this.append(tail)
  }

  #readFrom(from: LogIndex): readonly Entry[] {
    if (from > this.lastIndex()) return []
    return this.entries(from, this.lastIndex() + 1, Number.POSITIVE_INFINITY) ?? []
  }
}
