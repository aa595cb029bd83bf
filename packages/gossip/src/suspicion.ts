import type { MemberId } from './member.ts'

/** How long an accused member has. */
export interface SuspicionTerms {
  readonly minMs: number
  readonly maxMs: number
  /** So many independent confirmations shorten it to the minimum. */
  readonly confirmationsWanted: number
}

/**
 * F2: the time an accused member has to speak up. It starts long and shrinks with every further accuser:
 * `max − log(c + 1) / log(k + 1) × (max − min)`.
 */
export class Suspicion {
  readonly #accusers: Set<MemberId>
  readonly #terms: SuspicionTerms
  #startedAtMs: number

  constructor(nowMs: number, accuser: MemberId, terms: SuspicionTerms) {
    this.#startedAtMs = nowMs
    this.#accusers = new Set([accuser])
    this.#terms = terms
  }

  /** Whether this accuser is news that should be passed on. */
  confirm(accuser: MemberId): boolean {
    if (this.#accusers.size > this.#terms.confirmationsWanted || this.#accusers.has(accuser)) return false
    this.#accusers.add(accuser)
    return true
  }

  /** H3: the time in which this process was away does not count. */
  postpone(byMs: number): void {
    this.#startedAtMs += byMs
  }

  get deadlineMs(): number {
    return this.#startedAtMs + suspicionTimeoutMs(this.#accusers.size - 1, this.#terms)
  }
}

/** F2, as a formula. */
export function suspicionTimeoutMs(
  confirmations: number,
  { minMs, maxMs, confirmationsWanted }: SuspicionTerms,
): number {
  if (confirmationsWanted < 1) return minMs
  const share = Math.log(confirmations + 1) / Math.log(confirmationsWanted + 1)
  return Math.max(minMs, maxMs - share * (maxMs - minMs))
}
