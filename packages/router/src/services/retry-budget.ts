/** Retries that a service may always have in hand: a quiet one, too, loses an instance now and then. */
const FLOOR = 20
/** How fast it comes back to that when nobody calls. */
const FLOOR_PER_SECOND = 2
/** What each request adds: in the long run at most one request in four is sent twice. */
const PER_REQUEST = 0.25
/** What may be saved up: the requests that one dying instance of a busy service leaves without an answer. */
const TOKENS_MAX = 500
const MS_PER_SECOND = 1000

/** Figures for `/state`. */
export interface RetryCounts {
  /** Retries that could be made now. */
  readonly available: number
  readonly granted: number
  readonly denied: number
}

/**
 * How many retries a service may have, so that they cannot multiply its load: when every instance refuses, N requests
 * make at most N + N / 4 + what was saved up (never more than 500) attempts, however often each may try by itself.
 */
export class RetryBudget {
  #tokens = FLOOR
  #refilledAtMs: number
  #granted = 0
  #denied = 0

  constructor(nowMs: number) {
    this.#refilledAtMs = nowMs
  }

  /** A request came in. */
  deposit(): void {
    this.#tokens = Math.min(TOKENS_MAX, this.#tokens + PER_REQUEST)
  }

  /** Takes one retry; false when there is none. */
  take(nowMs: number): boolean {
    this.#refill(nowMs)
    if (this.#tokens < 1) {
      this.#denied += 1
      return false
    }
    this.#tokens -= 1
    this.#granted += 1
    return true
  }

  counts(nowMs: number): RetryCounts {
    this.#refill(nowMs)
    return { available: Math.floor(this.#tokens), granted: this.#granted, denied: this.#denied }
  }

  #refill(nowMs: number): void {
    const gained = ((nowMs - this.#refilledAtMs) / MS_PER_SECOND) * FLOOR_PER_SECOND
    this.#refilledAtMs = nowMs
    if (this.#tokens < FLOOR) this.#tokens = Math.min(FLOOR, this.#tokens + gained)
  }
}
