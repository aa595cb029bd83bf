import type { Logger } from '@waiter/base'
import type { LeaderLink } from '@waiter/control'
import { BoundedMap } from '../auth/bounded-map.ts'
import { askRouters } from '../cluster/questions.ts'
import type { AnsweredRequest, AsyncRequests } from './async-requests.ts'
import type { AsyncTicket } from './async-tickets.ts'

/** Routers answer within milliseconds, or they are not well. */
const ASK_TIMEOUT_MS = 2_000
/** However often a client asks how its work goes, whoever keeps the slot is looked for this often at most. */
const LOOK_INTERVAL_MS = 5_000
/** Requests of which is remembered when that was. */
const LOOKED_MAX = 10_000

export interface AsyncFollowUpOptions {
  readonly requests: () => Pick<AsyncRequests, 'isHeld' | 'complete' | 'adopt'>
  readonly leader: () => Pick<LeaderLink, 'askRouters'> | undefined
  readonly nowMs: () => number
  readonly log: Logger
}

/** What follows for the slot of an asynchronous request, wherever it is kept, from what its client was answered. */
export class AsyncFollowUp {
  readonly #options: AsyncFollowUpOptions
  readonly #lookedAtMs = new BoundedMap<string, number>(LOOKED_MAX)

  constructor(options: AsyncFollowUpOptions) {
    this.#options = options
  }

  /** The request is over: the router that keeps its slot gives it back (spec §8.7). */
  onOver({ requestId }: AsyncTicket): void {
    if (this.#options.requests().complete(requestId)) return
    // Whoever is not reached notices by itself, at its next look at the instance.
    this.#ask('async-complete', requestId).catch(error =>
      this.#options.log.info({ err: error, requestId }, 'could not tell that an asynchronous request is over'),
    )
  }

  /** Its instance works: the slot must be kept by somebody, also when the router that accepted it is gone. */
  onWorking(ticket: AsyncTicket, request: Pick<AnsweredRequest, 'runtime' | 'base' | 'headers'>): void {
    const { requests, nowMs, log } = this.#options
    const { requestId } = ticket
    if (requests().isHeld(requestId)) return
    if (nowMs() < (this.#lookedAtMs.get(requestId) ?? Number.NEGATIVE_INFINITY) + LOOK_INTERVAL_MS) return
    this.#lookedAtMs.set(requestId, nowMs())
    this.#ask('async-held', requestId).then(
      isHeld => {
        if (isHeld === false) requests().adopt(ticket, request)
      },
      error => log.info({ err: error, requestId }, 'could not look for the slot of an asynchronous request'),
    )
  }

  /** Did any router say yes? Undefined: nobody knows, for some did not say. */
  async #ask(topic: 'async-held' | 'async-complete', requestId: string): Promise<boolean | undefined> {
    const link = this.#options.leader()
    if (link === undefined) return undefined
    const { answers, silentRouterIds } = await askRouters(link, topic, { requestId }, ASK_TIMEOUT_MS)
    const all = [...answers.values()]
    if (all.includes(true)) return true
    // A router that does not know the question may keep the slot all the same.
    return silentRouterIds.length > 0 || all.some(answer => answer !== false) ? undefined : false
  }
}
