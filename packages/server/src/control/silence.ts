import type { Millis } from '@waiter/base'
import type { NodeId, ProgressStatus } from 'raft-ts'

/** For how long each member has not been heard, as one leader counts it: of the time before it led it knows nothing. */
export class Silence {
  readonly #heardAtMs = new Map<NodeId, Millis>()
  #sinceMs: Millis = 0

  /** This node leads from now on. */
  begin(nowMs: Millis): void {
    this.#heardAtMs.clear()
    this.#sinceMs = nowMs
  }

  /** What the leader knows now. Raft forgets every half second whom it has heard: to be told often. */
  note(nowMs: Millis, progress: readonly Pick<ProgressStatus, 'id' | 'isRecentlyActive'>[]): void {
    const ids = new Set(progress.map(({ id }) => id))
    for (const id of this.#heardAtMs.keys()) if (!ids.has(id)) this.#heardAtMs.delete(id)
    for (const { id, isRecentlyActive } of progress)
      if (isRecentlyActive || !this.#heardAtMs.has(id)) this.#heardAtMs.set(id, nowMs)
  }

  /** 0 for one that is not known. */
  ofMember(id: NodeId, nowMs: Millis): number {
    const heardAtMs = this.#heardAtMs.get(id)
    return heardAtMs === undefined ? 0 : Math.max(0, nowMs - Math.max(heardAtMs, this.#sinceMs))
  }
}
