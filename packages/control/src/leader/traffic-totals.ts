import type { Millis } from '@waiter/base'
import { LATENCY_BUCKETS, type TrafficFigures } from '@waiter/services'
import type { ServiceLoadRow } from '../agent/leader-link.ts'

/** Figures of a service are remembered this often, for as long: what "recently" means when versions are compared. */
const SNAPSHOT_EVERY_MS = 5_000
const SNAPSHOTS_MAX = 12

/** What came of a service's requests, summed over all routers; grows only. */
export class TrafficTotals implements TrafficFigures {
  finished = 0
  failed = 0
  readonly latencyCounts: number[] = new Array<number>(LATENCY_BUCKETS).fill(0)
  readonly #snapshots: { readonly atMs: Millis; readonly figures: TrafficFigures }[] = []

  /** Adds what a router's new row says beyond its former one. */
  absorb(before: ServiceLoadRow | undefined, row: ServiceLoadRow, nowMs: Millis): void {
    const last = this.#snapshots.at(-1)
    if (last === undefined || nowMs >= last.atMs + SNAPSHOT_EVERY_MS) {
      // Where nothing has ended since, nothing has changed.
      const figures = last?.figures.finished === this.finished ? last.figures : this.copy()
      this.#snapshots.push({ atMs: nowMs, figures })
      if (this.#snapshots.length > SNAPSHOTS_MAX) this.#snapshots.shift()
    }
    this.finished += Math.max(0, row.finished - (before?.finished ?? 0))
    this.failed += Math.max(0, row.failed - (before?.failed ?? 0))
    if (row.latencyCounts.length === 0) return
    for (let bucket = 0; bucket < LATENCY_BUCKETS; bucket++)
      this.latencyCounts[bucket]! += Math.max(
        0,
        (row.latencyCounts[bucket] ?? 0) - (before?.latencyCounts[bucket] ?? 0),
      )
  }

  copy(): TrafficFigures {
    return { finished: this.finished, failed: this.failed, latencyCounts: [...this.latencyCounts] }
  }

  /** What has come since an earlier copy. */
  since(earlier: TrafficFigures): TrafficFigures {
    return {
      finished: this.finished - earlier.finished,
      failed: this.failed - earlier.failed,
      latencyCounts: this.latencyCounts.map((count, bucket) => count - (earlier.latencyCounts[bucket] ?? 0)),
    }
  }

  /** About the last minute of traffic; everything that is known, if that minute had fewer than `samplesMin` requests. */
  recent(samplesMin: number): TrafficFigures {
    const oldest = this.#snapshots[0]
    const recent = oldest === undefined ? this.copy() : this.since(oldest.figures)
    return recent.finished < samplesMin ? this.copy() : recent
  }
}
