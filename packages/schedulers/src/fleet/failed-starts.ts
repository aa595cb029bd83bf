import type { Millis, ServiceId } from '@waiter/base'

/** A host where a service failed to start is avoided for so long, doubling up to the maximum. */
const AVOID_MS_FIRST = 10_000
const AVOID_MS_MAX = 300_000
/** Pairs of service and host that are remembered; the oldest go first. */
const PAIRS_MAX = 10_000

interface Row {
  readonly failures: number
  readonly untilMs: Millis
}

/** Remembers on which hosts services failed to start. */
export class FailedStarts {
  readonly #rows = new Map<string, Row>()

  /** @returns how many in a row that makes */
  note(serviceId: ServiceId, hostId: string, nowMs: Millis): number {
    const key = keyOf(serviceId, hostId)
    const failures = (this.#rows.get(key)?.failures ?? 0) + 1
    const avoidMs = Math.min(AVOID_MS_FIRST * 2 ** (failures - 1), AVOID_MS_MAX)
    this.#rows.delete(key)
    this.#rows.set(key, { failures, untilMs: nowMs + avoidMs })
    const [oldest] = this.#rows.keys()
    if (this.#rows.size > PAIRS_MAX && oldest !== undefined) this.#rows.delete(oldest)
    return failures
  }

  /** It started there. */
  clear(serviceId: ServiceId, hostId: string): void {
    this.#rows.delete(keyOf(serviceId, hostId))
  }

  isAvoided(serviceId: ServiceId, hostId: string, nowMs: Millis): boolean {
    return nowMs < (this.#rows.get(keyOf(serviceId, hostId))?.untilMs ?? 0)
  }
}

function keyOf(serviceId: ServiceId, hostId: string): string {
  return `${hostId} ${serviceId}`
}
