import { RaftNodeError } from './errors.ts'

/** How long a caller waits, and how it may give up. */
export interface RequestOptions {
  /** Measured in whole ticks, rounded up. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** One promise somebody waits for. Settled once; later settling is ignored. */
export class Request<T> {
  readonly promise: Promise<T>
  readonly deadlineTick: number
  /** Handed to the protocol: from here on a failure no longer means that nothing happened. */
  isUnderWay = false
  #isSettled = false
  readonly #resolve: (value: T) => void
  readonly #reject: (error: RaftNodeError) => void
  readonly #onSettled: () => void

  constructor(deadlineTick: number, onSettled: () => void) {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    this.promise = promise
    this.deadlineTick = deadlineTick
    this.#resolve = resolve
    this.#reject = reject
    this.#onSettled = onSettled
  }

  get isSettled(): boolean {
    return this.#isSettled
  }

  resolve(value: T): void {
    if (this.#settle()) this.#resolve(value)
  }

  reject(error: RaftNodeError): void {
    if (this.#settle()) this.#reject(error)
  }

  #settle(): boolean {
    if (this.#isSettled) return false
    this.#isSettled = true
    this.#onSettled()
    return true
  }
}

/** What is needed to end a request, whatever it is for. */
export type OpenRequest = Pick<Request<never>, 'deadlineTick' | 'isUnderWay' | 'reject'>

/** All requests of a node that are not settled: every one of them ends by its result, its deadline, or the node's end. */
export class Requests {
  readonly #tickMs: number
  readonly #open = new Set<OpenRequest>()
  #tick = 0

  constructor(tickMs: number) {
    this.#tickMs = tickMs
  }

  get count(): number {
    return this.#open.size
  }

  open<T>(options: Required<Pick<RequestOptions, 'timeoutMs'>> & RequestOptions): Request<T> {
    const { timeoutMs, signal } = options
    const deadlineTick = this.#tick + Math.max(1, Math.ceil(timeoutMs / this.#tickMs))
    const onAbort = (): void => request.reject(expired(request, 'The caller gave up'))
    const request = new Request<T>(deadlineTick, () => {
      this.#open.delete(request)
      signal?.removeEventListener('abort', onAbort)
    })
    this.#open.add(request)
    if (signal?.aborted === true) onAbort()
    else signal?.addEventListener('abort', onAbort, { once: true })
    return request
  }

  /** One tick of time: whoever waited too long is told. */
  tick(): void {
    this.#tick++
    for (const request of this.#open) {
      if (request.deadlineTick <= this.#tick) request.reject(expired(request, 'The time-out passed'))
    }
  }

  /** The node ends: everybody is told. */
  rejectAll(reasonOf: (request: OpenRequest) => RaftNodeError): void {
    for (const request of this.#open) request.reject(reasonOf(request))
  }
}

function expired(request: OpenRequest, what: string): RaftNodeError {
  const outcome = request.isUnderWay ? 'unknown' : 'notHappened'
  const consequence = request.isUnderWay ? 'it may still happen' : 'nothing happened'
  return new RaftNodeError(`${what} before the raft group answered; ${consequence}.`, { code: 'RAFT_TIMEOUT', outcome })
}
