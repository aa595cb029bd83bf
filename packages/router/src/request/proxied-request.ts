import type { InstanceId } from '@waiter/base'
import type { InstanceLease } from '@waiter/control'
import type { BackendProtocol, Exchange, ForwardTarget, HeaderGetter, Outcome } from '@waiter/proxy'
import type { Descriptor, RequestTimeouts } from '@waiter/services'
import { flowOf, type QueueFailure, type ReleaseStatus, type Slot, Waiter } from '@waiter/slots'
import type {
  AccessLog,
  LoggedInstance,
  RequestType,
  ResponseLogPart,
  ServiceLogPart,
} from '../access-log/access-log.ts'
import { answeredRequest } from '../async/answered-request.ts'
import type { AsyncRequests, AsyncWork } from '../async/async-requests.ts'
import type { Identity } from '../auth/identity.ts'
import type { RequestError } from '../errors/error-response.ts'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import { debugRequestLines, debugResponseLines } from './debug-headers.ts'
import { GRPC_HTTP_STATUS, grpcStatusOf, isBusyStatus, isGrpcRequest } from './grpc.ts'
import { grpcTimeLeft, lateError, queueDeadlineMs, timeLeftLine } from './request-deadline.ts'
import {
  responseTimeoutError,
  serviceFailureError,
  totalTimeoutError,
  unansweredError,
  unsentError,
} from './request-errors.ts'

/** Connections that nothing was sent on may be replaced this often: an instance that just died is gone within that. */
const UNSENT_ATTEMPTS_MAX = 10
/** An idempotent request whose connection died without a response byte is tried once more. */
const UNANSWERED_ATTEMPTS_MAX = 1
/** Without it, backends would take what we decrypted for plain HTTP, and redirect to where it came from. */
const FORWARDED_OVER_TLS = 'x-forwarded-proto: https\r\n'
/** Served before requests that came later: it has waited already. */
const RETRY_PRIORITY = 1
const SWITCHING_PROTOCOLS = 101
/** What a client over HTTP/2 sees when its WebSocket is accepted (RFC 8441): it has no 101. */
const ACCEPTED_CONNECT = 200
const ACCEPTED = 202
/** Of a moment that did not come. */
const NEVER = -1

/** What every request of this router shares. */
export interface RequestEnvironment {
  readonly nowMs: () => number
  readonly renderHeader: (name: string, value: string) => string
  /** Calls back once, unless the function that it returns is called before. */
  after(delayMs: number, callback: () => void): () => void
  readonly connectTimeoutMs: number
  readonly routerId: string
  /** As the client speaks it, perhaps to a proxy in front of us. */
  readonly protocolOf: (exchange: Exchange) => string
  /** Undefined when it is switched off. */
  readonly accessLog: AccessLog | undefined
  /** `via` and the like: the same for every response of this router. */
  readonly responseLines: string
  /** `authorization`, principal, `via`: the same for every request of a user to a service. */
  requestLinesOf(runtime: ServiceRuntime, identity: Identity | undefined): string
  /** Knows whether work goes on behind an answer, and looks after its slot. */
  readonly asyncRequests: Pick<AsyncRequests, 'accept'>
  needService(runtime: ServiceRuntime, descriptor: Descriptor): void
  answerError(request: ProxiedRequest, error: RequestError): void
}

/** What one request is about. */
export interface ProxiedRequestParts {
  readonly exchange: Exchange
  readonly runtime: ServiceRuntime
  readonly descriptor: Descriptor
  readonly timeouts: RequestTimeouts
  /** What every line about this descriptor's requests has; undefined without a log. */
  readonly logPart: ServiceLogPart | undefined
  readonly cid: string
  readonly isDebug: boolean
  /** Undefined when the token disables authentication. */
  readonly identity: Identity | undefined
  /** What gates want the answer to say. */
  readonly answerHeaders: readonly (readonly [name: string, value: string])[]
  /** Path and query for the backend, when they are not the client's. */
  readonly requestTarget?: string | undefined
}

/**
 * One request on its way through this router: gets a slot at once or waits for one, is forwarded, and gives the slot
 * back with what became of it (spec §1.4). With a free slot all of this happens before `start` returns.
 *
 * It is its own `ForwardTarget`, filled in anew for each grant: one object less for every request.
 */
export class ProxiedRequest extends Waiter implements ForwardTarget {
  readonly parts: ProxiedRequestParts
  readonly protocol: BackendProtocol
  host = ''
  port = 0
  extraRequestHead = ''
  extraResponseHead = ''
  replacedLocation: string | undefined
  changedRequestField: ForwardTarget['changedRequestField']
  readonly connectTimeoutMs: number
  readonly responseTimeoutMs: number
  readonly streamIdleTimeoutMs: number
  readonly tunnelIdleTimeoutMs: number
  readonly requestTarget: string | undefined
  readonly lateResponseHead: (() => string) | undefined
  readonly #environment: RequestEnvironment
  readonly #deadlineMs: number
  #slot: Slot | undefined
  #grantedAtMs = NEVER
  #answeredAtMs = NEVER
  #status: number | undefined
  /** For the request log. */
  #type: RequestType = 'waiter-proxy'
  #instance: LoggedInstance | undefined
  #response: ResponseLogPart | undefined
  #isBusy = false
  #grpcStatus: string | undefined
  /** The instance that it has a tunnel to. */
  #tunnelOn: InstanceId | undefined
  /** Goes on behind the answer. */
  #asyncWork: AsyncWork | undefined
  #unsentAttempts = 0
  #unansweredAttempts = 0
  /** Of both kinds, as they were made. */
  #retries = 0
  #problem: string | undefined
  #cancelTotalTimer: (() => void) | undefined
  #isOver = false

  constructor(parts: ProxiedRequestParts, environment: RequestEnvironment) {
    super()
    this.parts = parts
    this.#environment = environment
    const { timeouts } = parts
    this.requestTarget = parts.requestTarget
    this.connectTimeoutMs = environment.connectTimeoutMs
    this.responseTimeoutMs = timeouts.socketTimeoutMs
    this.streamIdleTimeoutMs = timeouts.streamingTimeoutMs
    this.tunnelIdleTimeoutMs = timeouts.socketTimeoutMs
    this.lateResponseHead = parts.isDebug ? () => this.#lateDebugLines() : undefined
    this.protocol = parts.runtime.definition.effective['backend-proto']
    this.#deadlineMs = queueDeadlineMs(parts.exchange.arrivedAtMs, timeouts)
  }

  /** The instance that serves it, once there is one. */
  get lease(): InstanceLease | undefined {
    return this.#slot && this.parts.runtime.leaseOf(this.#slot)
  }

  get instanceId(): string | null {
    return this.#slot?.instanceId ?? null
  }

  start(): void {
    const { runtime, exchange } = this.parts
    const nowMs = this.#environment.nowMs()
    runtime.accept()
    runtime.metrics.onRequest(nowMs)
    exchange.onClientGone = () => this.#onClientGone()
    const { totalTimeoutMs } = this.parts.timeouts
    if (totalTimeoutMs !== Number.POSITIVE_INFINITY) {
      // It may have waited for another version before.
      const leftMs = Math.max(0, totalTimeoutMs - (nowMs - exchange.arrivedAtMs))
      this.#cancelTotalTimer = this.#environment.after(leftMs, () => this.#onTotalTimeout())
    }
    const slot = runtime.machine.reserve(nowMs)
    if (slot === undefined) this.#wait(0)
    else this.#forward(slot, nowMs)
  }

  granted(slot: Slot): void {
    this.#forward(slot, this.#environment.nowMs())
  }

  #forward(slot: Slot, nowMs: number): void {
    const { exchange, runtime, cid, isDebug } = this.parts
    const environment = this.#environment
    const cidLine = `x-cid: ${cid}\r\n`
    this.#slot = slot
    this.#instance = slot
    this.host = slot.host
    this.port = slot.port
    this.extraRequestHead = environment.requestLinesOf(runtime, this.parts.identity) + cidLine
    this.extraRequestHead += timeLeftLine(exchange.arrivedAtMs, this.parts.timeouts, nowMs)
    this.changedRequestField = grpcTimeLeft(exchange.arrivedAtMs, this.parts.timeouts, nowMs)
    // A proxy in front of us knows better what the user's own connection is.
    if (exchange.isSecure && !exchange.head.has('x-forwarded-proto')) this.extraRequestHead += FORWARDED_OVER_TLS
    this.extraResponseHead = environment.responseLines + cidLine
    this.#grantedAtMs = nowMs
    runtime.metrics.onGranted(nowMs - exchange.arrivedAtMs)
    for (const [name, value] of this.parts.answerHeaders)
      this.extraResponseHead += environment.renderHeader(name, value)
    if (isDebug) {
      this.extraResponseHead += debugRequestLines(this, environment, nowMs)
    }
    exchange.forward(this)
  }

  failed(failure: QueueFailure): void {
    const { runtime } = this.parts
    switch (failure.kind) {
      case 'queue-timeout':
        runtime.metrics.queueTimeouts += 1
        this.#fail(lateError(runtime, this.parts.timeouts), 'generic-error')
        return
      case 'queue-full':
        runtime.metrics.onError('queue-length', this.#environment.nowMs())
        this.#fail(
          {
            status: 503,
            message: 'Max queue length exceeded',
            errorClass: 'waiter.QueueLength',
            details: {
              'current-queue-length': runtime.machine.waiting + runtime.machine.waitingElsewhere,
              'max-queue-length': failure.maxQueueLength,
              'outstanding-requests': runtime.counts.outstanding,
              'service-id': runtime.id,
            },
          },
          'generic-error',
        )
        return
      case 'service-failure':
        runtime.metrics.onError('deployment-error', this.#environment.nowMs())
        this.#fail(serviceFailureError(runtime, failure.failure), 'generic-error')
    }
  }

  #wait(priority: number): void {
    const { runtime, descriptor } = this.parts
    const flow = flowOf(descriptor.tokens.map(({ token }) => token))
    const refusal = runtime.machine.enqueue(this, this.#deadlineMs, priority, this.parts.exchange.arrivedAtMs, flow)
    if (refusal !== undefined) {
      this.failed(refusal)
      return
    }
    if (!this.isWaiting) return
    runtime.armTimer()
    if (runtime.leases.size === 0) this.#environment.needService(runtime, descriptor)
  }

  /** A method, not a closure: with one closure more per request the collector took a third of the CPU. */
  onResponseTrailers(get: HeaderGetter): void {
    this.#noteGrpcStatus(get)
  }

  /** gRPC tells by `grpc-status` what others tell by their status. */
  #noteGrpcStatus(get: HeaderGetter): void {
    if (this.protocol !== 'h2c' && this.protocol !== 'h2') return
    const status = get('grpc-status')
    if (status === undefined) return
    this.#grpcStatus = status
    if (isBusyStatus(status)) this.#isBusy = true
  }

  #lateDebugLines(): string {
    return debugResponseLines(this.#environment, this.#environment.nowMs() - this.#grantedAtMs, this.#retries)
  }

  /** The backend answers. */
  onResponseHead(status: number, get: HeaderGetter, fieldCount: number): void {
    this.#status = status
    this.#answeredAtMs = this.#environment.nowMs()
    if (status === ACCEPTED) this.#acceptAsync(get('location'))
    this.#noteGrpcStatus(get)
    if (status === SWITCHING_PROTOCOLS) this.#openTunnel()
    this.parts.runtime.metrics.onAnswered(this.#answeredAtMs - this.#grantedAtMs)
    const { accessLog } = this.#environment
    if (accessLog === undefined) return
    this.#response = accessLog.responsePart(get, fieldCount)
    if (status !== SWITCHING_PROTOCOLS) return
    if (this.parts.exchange.head.httpVersion === '2.0') this.#status = ACCEPTED_CONNECT
    // The end of the tunnel has a line of its own.
    this.#type = 'websocket-upgrade'
    this.#record(undefined)
    this.#type = 'waiter-proxy'
  }

  #openTunnel(): void {
    this.#cancelTotalTimer?.()
    const { runtime, exchange } = this.parts
    const instanceId = this.#slot!.instanceId
    this.#tunnelOn = instanceId
    // Once the engine has made it a tunnel: it may have to be closed at once.
    queueMicrotask(() => {
      if (!this.#isOver) runtime.tunnels.add(instanceId, exchange)
    })
  }

  /** The instance may have taken it on, to work on it behind its answer (spec §8). */
  #acceptAsync(location: string | undefined): void {
    const slot = this.#slot
    if (slot === undefined) return
    this.#asyncWork = this.#environment.asyncRequests.accept(answeredRequest(this, slot, this.#environment), location)
    if (this.#asyncWork !== undefined)
      this.replacedLocation = this.#environment.renderHeader('location', this.#asyncWork.url)
  }

  /** Whatever became of the answer, or of the client: the instance works on, in the slot that it has. */
  #keepAsync(kind: Outcome['kind']): void {
    this.#isOver = true
    this.#cancelTotalTimer?.()
    const { runtime, exchange } = this.parts
    this.#record(kind === 'completed' ? undefined : kind)
    runtime.metrics.onStatus(ACCEPTED)
    this.#tally(false)
    runtime.metrics.onEnd(this.#environment.nowMs() - exchange.arrivedAtMs)
  }

  /** How the present forward ended. */
  onOutcome(outcome: Outcome): void {
    const slot = this.#slot
    if (slot === undefined) return
    if (this.#asyncWork?.begin() === true) {
      this.#keepAsync(outcome.kind)
      return
    }
    switch (outcome.kind) {
      case 'completed':
        this.#complete(slot, outcome)
        return
      case 'not-sent':
        this.#retryUnsent(slot, outcome)
        return
      case 'failed-before-response':
        this.#retryUnanswered(slot, outcome)
        return
      case 'response-timeout':
        this.#endWithError(
          slot,
          'instance-error',
          responseTimeoutError(this.parts.timeouts.socketTimeoutMs, this.parts.runtime.id),
        )
        return
      case 'failed-mid-response':
        this.#record(outcome.kind)
        this.#tally(true)
        this.#end(slot, 'instance-error', 'instance-error')
        return
      case 'client-gone':
      case 'client-stalled':
      case 'client-malformed':
        this.#record(outcome.kind)
        this.#end(slot, 'client-error', 'client-error')
        return
      case 'aborted':
        this.#record(this.#problem ?? outcome.kind)
        this.#end(slot, 'generic-error', 'generic-error')
    }
  }

  /** Looks at the clock once: that costs as much as all its metrics. */
  #complete(slot: Slot, { status, tunnelEnd }: Extract<Outcome, { kind: 'completed' }>): void {
    const nowMs = this.#environment.nowMs()
    this.#record(undefined, undefined, nowMs)
    this.parts.runtime.metrics.onStatus(status)
    // A gRPC backend says in a trailer that it is unavailable: as bad as status 503.
    if (tunnelEnd === undefined) this.#tally(status >= 500 || this.#isBusy, nowMs)
    this.#end(slot, status === 503 || this.#isBusy ? 'instance-busy' : 'success', 'successful', nowMs)
  }

  /** Nothing reached a backend: any other instance may have it, whatever the method. */
  #retryUnsent(slot: Slot, outcome: Extract<Outcome, { kind: 'not-sent' }>): void {
    this.#unsentAttempts += 1
    if (!this.#mayRetry(this.#unsentAttempts <= UNSENT_ATTEMPTS_MAX)) {
      const status = outcome.reason === 'stale' ? 'unused' : 'connect-failed'
      this.#endWithError(slot, status, unsentError(outcome, this.#unsentAttempts, this.parts.runtime.id))
      return
    }
    this.#slot = undefined
    const { runtime } = this.parts
    if (outcome.reason === 'stale') {
      // The instance is well: queued first, this request gets the slot that it gives back.
      this.#wait(RETRY_PRIORITY)
      runtime.release(slot, 'unused')
      return
    }
    // An instance that refuses streams has too much to do; to one that refuses connections nobody listens.
    runtime.release(slot, outcome.reason === 'unprocessed' ? 'instance-busy' : 'connect-failed')
    this.#wait(RETRY_PRIORITY)
  }

  #retryUnanswered(slot: Slot, outcome: Extract<Outcome, { kind: 'failed-before-response' }>): void {
    this.#unansweredAttempts += 1
    if (this.#mayRetry(outcome.retryable && this.#unansweredAttempts <= UNANSWERED_ATTEMPTS_MAX)) {
      this.#slot = undefined
      this.parts.runtime.release(slot, 'instance-error')
      this.#wait(RETRY_PRIORITY)
      return
    }
    this.#endWithError(slot, 'instance-error', unansweredError(outcome.reason, this.parts.runtime.id))
  }

  /** @param isAllowed by the rules for one request; the service's budget has the last word */
  #mayRetry(isAllowed: boolean): boolean {
    const nowMs = this.#environment.nowMs()
    if (!isAllowed || nowMs >= this.#deadlineMs || !this.parts.runtime.retries.take(nowMs)) return false
    this.#retries += 1
    return true
  }

  /** A request is over after so long, wherever it is (`x-waiter-total-timeout`). */
  #onTotalTimeout(): void {
    if (this.#isOver) return
    const { runtime, exchange, timeouts } = this.parts
    const slot = this.#slot
    const error = totalTimeoutError(timeouts.totalTimeoutMs, runtime.id)
    if (slot === undefined) {
      if (!runtime.machine.cancel(this)) return
      runtime.armTimer()
      this.#fail(error, 'generic-error')
    } else if (this.#answeredAtMs === NEVER) {
      // Answering cancels the forward, whose outcome is ours already.
      this.#slot = undefined
      this.#endWithError(slot, 'generic-error', error)
    } else {
      this.#problem = 'total-timeout'
      exchange.abort()
    }
  }

  /** Was it this version of the same tokens, and this user? */
  isFor({ serviceId, tokens }: Descriptor, user: string | undefined): boolean {
    const { descriptor, identity } = this.parts
    return (
      descriptor.serviceId === serviceId &&
      identity?.user === user &&
      descriptor.tokens.length === tokens.length &&
      tokens.every(({ version }, index) => descriptor.tokens[index]!.version === version)
    )
  }

  /** Takes it out of the queue unanswered, so that another service may have it. Undefined: it does not wait. */
  leaveQueue(): ProxiedRequestParts | undefined {
    const { runtime } = this.parts
    if (this.#isOver || !runtime.machine.cancel(this)) return undefined
    this.#isOver = true
    this.#cancelTotalTimer?.()
    runtime.armTimer()
    runtime.finish()
    return this.parts
  }

  #onClientGone(): void {
    // Once forwarded, the engine reports an outcome; only a request that waits ends here.
    if (this.parts.runtime.machine.cancel(this)) {
      this.parts.runtime.armTimer()
      this.#record('client-gone')
      this.#finish('client-error')
    }
  }

  /** What the instance made of it: versions are judged by that. */
  #tally(isFailed: boolean, nowMs: number = this.#environment.nowMs()): void {
    this.parts.runtime.record(isFailed, nowMs - this.#grantedAtMs)
  }

  #endWithError(slot: Slot, status: ReleaseStatus, error: RequestError): void {
    this.#recordError(error)
    this.parts.runtime.metrics.onStatus(error.status)
    this.#tally(true)
    this.#environment.answerError(this, error)
    this.#end(slot, status, 'instance-error')
  }

  #end(slot: Slot, status: ReleaseStatus, count: CountName, nowMs: number = this.#environment.nowMs()): void {
    if (this.#isOver) return
    this.#finish(count, nowMs)
    this.parts.runtime.release(slot, status, nowMs, this.#latencyMs)
  }

  /** As load balancing takes it: an instance that fails is not fast. */
  get #latencyMs(): number {
    if (!this.parts.runtime.machine.wantsLatency) return NEVER
    if (this.#isBusy || (this.#status ?? 0) >= 500) return Number.POSITIVE_INFINITY
    return this.#answeredAtMs === NEVER ? NEVER : this.#answeredAtMs - this.#grantedAtMs
  }

  #fail(error: RequestError, count: CountName): void {
    if (this.#isOver) return
    this.#recordError(error)
    this.parts.runtime.metrics.onStatus(error.status)
    this.#environment.answerError(this, error)
    this.#finish(count)
  }

  #recordError(error: RequestError): void {
    const isGrpc = isGrpcRequest(this.parts.exchange.head)
    this.#status = isGrpc ? GRPC_HTTP_STATUS : error.status
    this.#grpcStatus = isGrpc ? grpcStatusOf(error.status) : undefined
    this.#record(undefined, error.errorClass)
  }

  /** Writes the request's line, before its connection may go on with another head. */
  #record(problem: string | undefined, errorClass?: string, endedAtMs: number = this.#environment.nowMs()): void {
    const { accessLog } = this.#environment
    const { logPart, exchange, cid } = this.parts
    if (accessLog === undefined || logPart === undefined) return
    accessLog.proxied(
      exchange,
      {
        status: this.#status,
        cid,
        service: logPart,
        instance: this.#instance,
        response: this.#response,
        grantedAtMs: this.#grantedAtMs,
        answeredAtMs: this.#answeredAtMs,
        endedAtMs,
        retries: this.#retries,
        problem,
        errorClass,
        grpcStatus: this.#grpcStatus,
        identity: this.parts.identity,
      },
      this.#type,
    )
  }

  #finish(count: CountName, nowMs: number = this.#environment.nowMs()): void {
    this.#isOver = true
    this.#cancelTotalTimer?.()
    const { runtime, exchange } = this.parts
    if (this.#tunnelOn !== undefined) runtime.tunnels.delete(this.#tunnelOn, exchange)
    runtime.counts[count] += 1
    runtime.metrics.onEnd(nowMs - exchange.arrivedAtMs)
    runtime.finish()
  }
}

type CountName = 'successful' | 'client-error' | 'generic-error' | 'instance-error'
