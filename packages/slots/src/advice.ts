import type { InstanceId, Millis } from '@waiter/base'
import type { InstanceEntry } from './instance-entry.ts'

/** Another router leaves an instance alone, and says so. */
export interface Accusation {
  readonly instanceId: InstanceId
  /** Who says it. Routers that see the network from the same place are one accuser. */
  readonly accuser: string
  /** When this router heard of it. A later ejection by the same accuser is another accusation. */
  readonly heardAtMs: Millis
  readonly untilMs: Millis
}

/** So many must say the same before advice takes an instance away (rule V2). */
const ACCUSERS_MIN = 2

/** What other routers say of the instances of one service, and what follows for them here (rules V1–V5). */
export class Advice {
  readonly #maxMs: number
  #accusations: ReadonlyMap<InstanceId, readonly Accusation[]> = new Map()
  /** Instances of which something stands. */
  readonly doubted: Set<InstanceEntry> = new Set()

  /** @param maxMs no accusation stands longer, however long it says */
  constructor(maxMs: number) {
    this.#maxMs = maxMs
  }

  /** Replaces all that was said before; what is not said any more does not stand. */
  replace(accusations: readonly Accusation[]): void {
    const byInstance = new Map<InstanceId, Accusation[]>()
    for (const accusation of accusations) {
      const list = byInstance.get(accusation.instanceId)
      if (list === undefined) byInstance.set(accusation.instanceId, [accusation])
      else list.push(accusation)
    }
    this.#accusations = byInstance
  }

  concerns(instanceId: InstanceId): boolean {
    return this.#accusations.has(instanceId)
  }

  /** Works out anew what stands against an instance. */
  weigh(entry: InstanceEntry, nowMs: number): void {
    const endByAccuser = new Map<string, number>()
    for (const { accuser, heardAtMs, untilMs } of this.#accusations.get(entry.instanceId) ?? []) {
      if (heardAtMs <= entry.acquittedAtMs) continue
      const endMs = Math.min(untilMs, heardAtMs + this.#maxMs)
      if (endMs > nowMs && endMs > (endByAccuser.get(accuser) ?? 0)) endByAccuser.set(accuser, endMs)
    }
    const ends = [...endByAccuser.values()].sort((a, b) => b - a)
    const others = entry.consecutiveFailures > 0 ? ACCUSERS_MIN - 1 : ACCUSERS_MIN
    entry.doubtedUntilMs = ends[0] ?? 0
    entry.advisedUntilMs = ends[others - 1] ?? 0
    if (entry.isDoubted) this.doubted.add(entry)
    else this.doubted.delete(entry)
  }

  /** When something ends that stands now. */
  get nextEndMs(): number {
    let next = Number.POSITIVE_INFINITY
    for (const { doubtedUntilMs, advisedUntilMs } of this.doubted)
      next = Math.min(next, advisedUntilMs > 0 ? Math.min(advisedUntilMs, doubtedUntilMs) : doubtedUntilMs)
    return next
  }
}
