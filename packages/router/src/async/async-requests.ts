import type { Logger } from '@waiter/base'
import { ASYNC_SLOT_MS_MAX, AsyncMonitor, type AsyncVerdict, type Slot, type StatusCheck } from '@waiter/slots'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import type { StatusQuestion } from './ask-status.ts'
import { judgeLocation, type LocationBase } from './async-location.ts'
import type { AsyncTicket, AsyncTickets } from './async-tickets.ts'

/** Asynchronous requests that one router keeps slots for; what more comes is answered, but its slot is not kept. */
const HELD_MAX = 10_000

export interface AsyncRequestsOptions {
  readonly routerId: string
  readonly tickets: AsyncTickets
  /** Monotonic. */
  readonly nowMs: () => number
  readonly wallMs: () => number
  /** Calls back once, unless the function that it returns is called before. */
  after(delayMs: number, callback: () => void): () => void
  readonly askStatus: (question: StatusQuestion) => Promise<StatusCheck>
  readonly nextId: () => string
  readonly log: Logger
}

/** A request that its instance answered with 202. */
export interface AnsweredRequest {
  readonly runtime: ServiceRuntime
  readonly slot: Slot
  readonly base: LocationBase
  readonly times: { readonly asyncRequestTimeoutMs: number; readonly asyncCheckIntervalMs: number }
  readonly isOpen: boolean
  readonly isPreauthorized: boolean
  /** What the instance is asked with. */
  readonly headers: () => Readonly<Record<string, string>>
}

/** A request that goes on after its answer. */
export interface AsyncWork {
  /** Where clients ask how it goes. */
  readonly url: string
  /** The answer is over: from now on its slot is looked after here. False: it is not, for there are too many. */
  begin(): boolean
}

interface Held {
  readonly ticket: AsyncTicket
  readonly runtime: ServiceRuntime
  readonly slot: Slot
  readonly monitor: AsyncMonitor
  readonly question: StatusQuestion
  cancelTimer: () => void
}

/**
 * Asynchronous requests whose slots this router keeps (spec §8): it asks their instances how they go, and gives each slot
 * back when the work is over, however that is learnt.
 */
export class AsyncRequests {
  readonly tickets: AsyncTickets
  readonly #options: AsyncRequestsOptions
  readonly #held = new Map<string, Held>()
  #isStopped = false

  constructor(options: AsyncRequestsOptions) {
    this.#options = options
    this.tickets = options.tickets
  }

  get count(): number {
    return this.#held.size
  }

  isHeld(requestId: string): boolean {
    return this.#held.has(requestId)
  }

  /** Does its instance go on working behind this answer? Undefined: no, it is an ordinary one (spec §8.1). */
  accept(request: AnsweredRequest, location: string | undefined): AsyncWork | undefined {
    const { kind, target } = judgeLocation(location, request.base)
    if (kind !== 'own') return undefined
    const { routerId, wallMs, nextId } = this.#options
    const { runtime, slot, times, isOpen, isPreauthorized } = request
    const ticket: AsyncTicket = {
      requestId: nextId(),
      routerId,
      serviceId: runtime.id,
      instanceId: slot.instanceId,
      location: target,
      acceptedAtMs: wallMs(),
      requestTimeoutMs: times.asyncRequestTimeoutMs,
      checkIntervalMs: times.asyncCheckIntervalMs,
      isOpen,
      isPreauthorized,
    }
    return {
      url: this.tickets.urlOf('status', ticket),
      begin: () => {
        if (!this.#mayHold()) return false
        this.#hold(ticket, request, this.#options.nowMs())
        return true
      },
    }
  }

  /**
   * The router that kept the slot is gone, and the instance still works: takes a slot of that instance for it, if this
   * router has a free one.
   */
  adopt(ticket: AsyncTicket, request: Pick<AnsweredRequest, 'runtime' | 'base' | 'headers'>): boolean {
    const { nowMs, wallMs, log } = this.#options
    const ageMs = Math.max(0, wallMs() - ticket.acceptedAtMs)
    if (this.#held.has(ticket.requestId) || !this.#mayHold() || ageMs >= ASYNC_SLOT_MS_MAX) return false
    const slot = request.runtime.machine.reserveOn(ticket.instanceId)
    if (slot === undefined) return false
    log.info({ serviceId: ticket.serviceId, instanceId: ticket.instanceId }, 'keeping the slot of lost work')
    request.runtime.takeOverAsync()
    this.#hold(ticket, { ...request, slot }, nowMs() - ageMs)
    return true
  }

  /** A client was told that it is over. False: it is not held here. */
  complete(requestId: string): boolean {
    const held = this.#held.get(requestId)
    if (held === undefined) return false
    this.#end(held, 'success')
    return true
  }

  stop(): void {
    this.#isStopped = true
    for (const held of this.#held.values()) held.cancelTimer()
    this.#held.clear()
  }

  #mayHold(): boolean {
    if (this.#held.size < HELD_MAX) return !this.#isStopped
    this.#options.log.warn({ count: HELD_MAX }, 'too many asynchronous requests: the slot of one more is not kept')
    return false
  }

  #hold(ticket: AsyncTicket, request: Pick<AnsweredRequest, 'runtime' | 'slot' | 'base' | 'headers'>, sinceMs: number) {
    const { runtime, slot, base } = request
    const monitor = new AsyncMonitor(ticket, sinceMs)
    const question = { ...base, target: ticket.location, headers: request.headers() }
    const held: Held = { ticket, runtime, slot, monitor, question, cancelTimer: () => undefined }
    this.#held.set(ticket.requestId, held)
    runtime.keepAsync(slot)
    this.#checkAt(held, monitor.firstCheckAtMs)
  }

  #checkAt(held: Held, atMs: number): void {
    const delayMs = Math.max(0, Math.ceil(atMs - this.#options.nowMs()))
    held.cancelTimer = this.#options.after(delayMs, () => void this.#check(held))
  }

  async #check(held: Held): Promise<void> {
    const check = await this.#options.askStatus(held.question)
    // A client may have ended it meanwhile.
    if (this.#held.get(held.ticket.requestId) !== held) return
    this.#follow(held, held.monitor.onCheck(check, this.#options.nowMs()))
  }

  #follow(held: Held, verdict: AsyncVerdict): void {
    if (verdict.kind === 'check') this.#checkAt(held, verdict.atMs)
    else this.#end(held, verdict.status)
  }

  #end(held: Held, status: 'success' | 'instance-error'): void {
    held.cancelTimer()
    this.#held.delete(held.ticket.requestId)
    held.runtime.endAsync(held.slot, status)
  }
}
