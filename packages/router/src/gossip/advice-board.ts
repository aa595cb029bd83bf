import type { ServiceId } from '@waiter/base'
import type { MemberId, RowEntry } from '@waiter/gossip'
import type { Accusation } from '@waiter/slots'
import { EJECTED_PREFIX, parseObservation } from './row.ts'

/** Of one router; what it says beyond that is not heard. */
const OBSERVATIONS_MAX = 256

interface Heard {
  readonly serviceId: ServiceId
  readonly value: string
  readonly accusation: Accusation
}

/** Which instances other routers leave alone, as they say. */
export class AdviceBoard {
  readonly #heardBy = new Map<MemberId, ReadonlyMap<string, Heard>>()

  /**
   * Takes what one router says now, instead of what it said before.
   *
   * @param accuser routers of one node see the network from the same place
   * @returns services of which it says something else than before
   */
  hear(
    from: MemberId,
    accuser: string,
    said: { readonly entries: readonly RowEntry[]; readonly nowMs: number },
  ): ReadonlySet<ServiceId> {
    const before = this.#heardBy.get(from)
    const now = new Map<string, Heard>()
    const changed = new Set<ServiceId>()
    for (const { key, value, ttlMs } of said.entries.slice(0, OBSERVATIONS_MAX)) {
      const known = before?.get(key)
      if (known?.value === value) {
        now.set(key, known)
        continue
      }
      const observation = parseObservation(value)
      if (observation === undefined || !Number.isFinite(ttlMs)) continue
      const { serviceId } = observation
      const { nowMs: heardAtMs } = said
      const instanceId = key.slice(EJECTED_PREFIX.length)
      const accusation = { instanceId, accuser, heardAtMs, untilMs: heardAtMs + ttlMs }
      now.set(key, { serviceId, value, accusation })
      changed.add(serviceId)
      if (known !== undefined) changed.add(known.serviceId)
    }
    for (const [key, { serviceId }] of before ?? []) if (!now.has(key)) changed.add(serviceId)
    if (now.size === 0) this.#heardBy.delete(from)
    else this.#heardBy.set(from, now)
    return changed
  }

  /** Everything that stands against instances of a service. */
  against(serviceId: ServiceId): readonly Accusation[] {
    const found: Accusation[] = []
    for (const heard of this.#heardBy.values())
      for (const { serviceId: about, accusation } of heard.values()) if (about === serviceId) found.push(accusation)
    return found
  }

  /** How many accusations there are, by whoever they are. */
  get size(): number {
    let size = 0
    for (const heard of this.#heardBy.values()) size += heard.size
    return size
  }
}
