import type { Millis, ServiceId } from '@waiter/base'
import type { LeaderLink, SuccessionRequest } from '@waiter/control'

/** A leader that is there answers within milliseconds; one that does not must not keep a healthy version from serving. */
const ANSWER_MS = 2_000
/** A version that fell ill after it took over is announced anew, this often at most. */
const AGAIN_MS = 5_000
/** Successions remembered, to tell a new leader of. */
const SUCCESSIONS_MAX = 1_000
/** A new leader hears of those that are at most so old: afterwards a version is not on probation any more. */
const REMEMBERED_MS = 600_000

interface Announced {
  readonly request: SuccessionRequest
  readonly firstAtMs: Millis
  readonly atMs: Millis
}

/** Which successions this router has asked the leader for, and when. */
export class SuccessionBook {
  readonly #leader: () => Pick<LeaderLink, 'leader' | 'wantSuccession'> | undefined
  readonly #nowMs: () => Millis
  readonly #announced = new Map<string, Announced>()

  constructor(options: {
    readonly leader: () => Pick<LeaderLink, 'leader' | 'wantSuccession'> | undefined
    readonly nowMs: () => Millis
  }) {
    this.#leader = options.leader
    this.#nowMs = options.nowMs
  }

  /** Asks the leader, unless that was done. */
  announce(request: SuccessionRequest, { isAnswered, isFalling }: { isAnswered: boolean; isFalling: boolean }): void {
    const key = keyOf(request.definition.id, request.predecessorId)
    const known = this.#announced.get(key)
    const nowMs = this.#nowMs()
    const isSame = known !== undefined && known.request.version === request.version
    const isDue = !isSame || (isFalling && nowMs >= known.atMs + AGAIN_MS)
    if (!isDue) return
    if (!isSame && isAnswered) {
      // Another router has asked already.
      this.#remember(key, { request, firstAtMs: nowMs, atMs: nowMs - ANSWER_MS })
      return
    }
    this.#remember(key, { request, firstAtMs: isSame ? known.firstAtMs : nowMs, atMs: nowMs })
    this.#leader()?.wantSuccession(request)
  }

  /** The leader was asked a moment ago and has not said anything yet. */
  isAwaitingAnswer(successorId: ServiceId, predecessorId: ServiceId): boolean {
    const announced = this.#announced.get(keyOf(successorId, predecessorId))
    const isConnected = this.#leader()?.leader.isConnected ?? false
    return isConnected && announced !== undefined && this.#nowMs() < announced.atMs + ANSWER_MS
  }

  /** When the last answer about a version is given up; `Infinity` when none is awaited. */
  answerDueAtMs(successorId: ServiceId): Millis {
    let dueAtMs = Number.POSITIVE_INFINITY
    for (const [key, { atMs }] of this.#announced)
      if (key.startsWith(`${successorId}\n`) && this.#nowMs() < atMs + ANSWER_MS)
        dueAtMs = Math.min(dueAtMs, atMs + ANSWER_MS)
    return dueAtMs
  }

  /** For a new leader. */
  all(): readonly SuccessionRequest[] {
    const sinceMs = this.#nowMs() - REMEMBERED_MS
    for (const [key, { firstAtMs }] of this.#announced) if (firstAtMs < sinceMs) this.#announced.delete(key)
    return [...this.#announced.values()].map(({ request }) => request)
  }

  #remember(key: string, announced: Announced): void {
    this.#announced.delete(key)
    this.#announced.set(key, announced)
    if (this.#announced.size > SUCCESSIONS_MAX) this.#announced.delete(this.#announced.keys().next().value ?? '')
  }
}

function keyOf(successorId: ServiceId, predecessorId: ServiceId): string {
  return `${successorId}\n${predecessorId}`
}
