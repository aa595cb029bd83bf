import type { Logger } from '@waiter/base'
import type { HostState } from '@waiter/control'

/** The leader is asked this often what is left here. */
const ASK_EVERY_MS = 200
/** No leader says anything for so long: what runs is not going to be moved. Longer than an election takes. */
const LEADERLESS_MS_MAX = 5_000
/** Nobody is there to take anything for so long: a leader that has just begun may not have heard the others. */
const NOWHERE_MS_MAX = 1_000

/** Why a host that is to stop need not wait any longer. */
export type DepartureEnd =
  /** Nothing runs here any more. */
  | 'emptied'
  /** No other host takes anything: all stop, or none is heard. */
  | 'nowhere'
  /** Nobody leads who could move anything. */
  | 'leaderless'

/** What the leader said of the hosts; undefined: nobody answered. */
export type HostStates = readonly Pick<HostState, 'hostId' | 'drains' | 'isLeft' | 'instances'>[]

/** What is being watched, between one answer and the next. */
export interface DepartureWatch {
  readonly leaderlessSinceMs: number | undefined
  readonly nowhereSinceMs: number | undefined
}

export const BEFORE_FIRST_ANSWER: DepartureWatch = { leaderlessSinceMs: undefined, nowhereSinceMs: undefined }

/** What an answer of the leader says about the departure of a host. */
export function judgeDeparture(
  before: DepartureWatch,
  answer: HostStates | undefined,
  { hostId, nowMs }: { readonly hostId: string; readonly nowMs: number },
): DepartureWatch & { readonly end?: DepartureEnd } {
  if (answer === undefined || answer.length === 0) {
    const leaderlessSinceMs = before.leaderlessSinceMs ?? nowMs
    const watch = { leaderlessSinceMs, nowhereSinceMs: undefined }
    return nowMs - leaderlessSinceMs >= LEADERLESS_MS_MAX ? { ...watch, end: 'leaderless' } : watch
  }
  const own = answer.find(host => host.hostId === hostId)
  // Until it knows that this host drains, it may start something here.
  if (own?.drains !== true) return BEFORE_FIRST_ANSWER
  if (own.instances === 0) return { ...BEFORE_FIRST_ANSWER, end: 'emptied' }
  if (own.isLeft) return BEFORE_FIRST_ANSWER
  const nowhereSinceMs = before.nowhereSinceMs ?? nowMs
  const watch = { leaderlessSinceMs: undefined, nowhereSinceMs }
  return nowMs - nowhereSinceMs >= NOWHERE_MS_MAX ? { ...watch, end: 'nowhere' } : watch
}

export interface HostDepartureOptions {
  readonly hostId: string
  /** What the leader says of the hosts. */
  readonly ask: () => Promise<HostStates>
  /** The host drains, or does not any more. */
  readonly onChange: () => void
  readonly onEnd: (end: DepartureEnd) => void
  readonly log: Logger
}

/** Whether this host is about to stop, and when what it ran runs elsewhere. */
export class HostDeparture {
  readonly #options: HostDepartureOptions
  #asking: NodeJS.Timeout | undefined
  #watch = BEFORE_FIRST_ANSWER

  constructor(options: HostDepartureOptions) {
    this.#options = options
  }

  #drains = false

  get drains(): boolean {
    return this.#drains
  }

  set(drains: boolean): void {
    if (drains === this.#drains) return
    this.#drains = drains
    this.stop()
    this.#watch = BEFORE_FIRST_ANSWER
    this.#options.log.info({}, drains ? 'this host drains: what it runs is moved to others' : 'this host stays')
    this.#options.onChange()
    if (drains) this.#asking = setTimeout(() => void this.#ask(), ASK_EVERY_MS)
  }

  stop(): void {
    clearTimeout(this.#asking)
    this.#asking = undefined
  }

  async #ask(): Promise<void> {
    const { hostId, ask, onEnd, log } = this.#options
    const answer = await ask().catch(error => {
      log.debug({ err: error }, 'the leader does not say what is left on this host')
      return undefined
    })
    if (this.#asking === undefined) return
    const { end, ...watch } = judgeDeparture(this.#watch, answer, { hostId, nowMs: performance.now() })
    this.#watch = watch
    if (end === undefined) {
      this.#asking = setTimeout(() => void this.#ask(), ASK_EVERY_MS)
      return
    }
    log.info({ end }, 'this host need not wait any longer for what it runs')
    onEnd(end)
  }
}
