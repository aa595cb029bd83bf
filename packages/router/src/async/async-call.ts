import type { BackendProtocol, Exchange, ForwardTarget, HeaderGetter, Outcome } from '@waiter/proxy'
import type { RequestTimeouts } from '@waiter/services'
import type { LocationKind } from '@waiter/slots'
import { LoggedExchange } from '../access-log/logged-exchange.ts'
import type { RequestError } from '../errors/error-response.ts'
import { responseTimeoutError, unansweredError, unsentError } from '../request/request-errors.ts'
import { judgeLocation } from './async-location.ts'
import type { AsyncAbout, AsyncTicket, AsyncTickets } from './async-tickets.ts'
import type { InstancePlace } from './instance-addresses.ts'

/** A kept connection that turns out dead is replaced this often. */
const UNSENT_ATTEMPTS_MAX = 3

/** What the instance answered, as far as it says how the work goes. */
export interface CallAnswer {
  readonly status: number
  readonly location: LocationKind
}

export interface AsyncCallParts {
  readonly exchange: Exchange
  readonly about: AsyncAbout
  readonly ticket: AsyncTicket
  readonly tickets: AsyncTickets
  readonly place: InstancePlace
  readonly requestLines: string
  readonly responseLines: string
  readonly renderHeader: (name: string, value: string) => string
  readonly connectTimeoutMs: number
  readonly timeouts: Pick<RequestTimeouts, 'socketTimeoutMs' | 'streamingTimeoutMs'>
  /** The instance answered; called once the answer has been relayed, or the client has gone. */
  readonly onAnswered: (answer: CallAnswer) => void
  readonly answerError: (error: RequestError) => void
}

/** One call of a client about its asynchronous request, straight to the instance: takes no slot, waits for nobody. */
export class AsyncCall implements ForwardTarget {
  readonly protocol: BackendProtocol
  readonly host: string
  readonly port: number
  readonly requestTarget: string
  readonly extraRequestHead: string
  readonly extraResponseHead: string
  readonly connectTimeoutMs: number
  readonly responseTimeoutMs: number
  readonly streamIdleTimeoutMs: number
  replacedLocation: string | undefined
  readonly #parts: AsyncCallParts
  #answer: CallAnswer | undefined
  #attempts = 0

  constructor(parts: AsyncCallParts) {
    const { place } = parts
    this.#parts = parts
    this.protocol = place.definition.effective['backend-proto']
    this.host = place.host
    this.port = place.port
    this.requestTarget = parts.ticket.location
    this.extraRequestHead = parts.requestLines
    this.extraResponseHead = parts.responseLines
    this.connectTimeoutMs = parts.connectTimeoutMs
    this.responseTimeoutMs = parts.timeouts.socketTimeoutMs
    this.streamIdleTimeoutMs = parts.timeouts.streamingTimeoutMs
  }

  start(): void {
    this.#attempts += 1
    this.#parts.exchange.forward(this)
  }

  onResponseHead(status: number, get: HeaderGetter): void {
    const { about, ticket, tickets, renderHeader } = this.#parts
    const { protocol, host, port, requestTarget } = this
    const { kind, target } = judgeLocation(get('location'), { protocol, host, port, target: requestTarget })
    this.#answer = { status, location: kind }
    if (about !== 'status' || kind !== 'own') return
    // Where the result is, or where to ask on.
    const next = status === 303 ? 'result' : status === 202 ? 'status' : undefined
    if (next !== undefined)
      this.replacedLocation = renderHeader('location', tickets.urlOf(next, { ...ticket, location: target }))
  }

  onOutcome(outcome: Outcome): void {
    const { exchange, answerError, onAnswered, ticket } = this.#parts
    if (this.#answer !== undefined) {
      if (exchange instanceof LoggedExchange) exchange.onForwarded(this.#answer.status)
      onAnswered(this.#answer)
      return
    }
    switch (outcome.kind) {
      case 'not-sent':
        if (outcome.reason === 'stale' && this.#attempts < UNSENT_ATTEMPTS_MAX) this.start()
        else answerError(unsentError(outcome, this.#attempts, ticket.serviceId))
        return
      case 'failed-before-response':
        answerError(unansweredError(outcome.reason, ticket.serviceId))
        return
      case 'response-timeout':
        answerError(responseTimeoutError(this.responseTimeoutMs, ticket.serviceId))
        return
      default:
        if (exchange instanceof LoggedExchange) exchange.onForwarded(undefined)
    }
  }
}
