import type { Logger, Millis } from '@waiter/base'
import type { Withdrawal, WithdrawalCode } from '@waiter/services'
import type { SuccessionRequest } from '../agent/leader-link.ts'
import type { ManagedService } from './managed-service.ts'
import { Succession, type SuccessionSettings } from './succession.ts'

/** Versions that one service takes over from at the same time. */
const SUCCESSIONS_MAX = 16
/** A withdrawal that could not be recorded is tried again after this. */
const RECORD_RETRY_MS = 1_000

export interface SuccessionKeeperOptions {
  readonly settings: SuccessionSettings
  readonly log: Logger
  /** Remembers a withdrawal for good. */
  readonly record: (withdrawal: Withdrawal) => Promise<void>
  readonly schedule: (delayMs: number, task: () => void) => void
  /** Routers must hear of the service's state. */
  readonly tell: (service: ManagedService) => void
  /** Have the service reviewed at the end of the turn. */
  readonly touch: (service: ManagedService) => void
}

/** Brings new versions up to size, lets them take over, watches them, and takes bad ones back. */
export class SuccessionKeeper {
  readonly #options: SuccessionKeeperOptions

  constructor(options: SuccessionKeeperOptions) {
    this.#options = options
  }

  /**
   * A router wants `successor` to take over from `predecessor`. Every router asks, and asks again; one succession comes
   * of it.
   *
   * @returns how many instances the successor needs
   */
  want(request: SuccessionRequest, successor: ManagedService, predecessor: ManagedService, nowMs: Millis): number {
    const { log, settings, tell, touch } = this.#options
    const known = successor.successions.get(predecessor.id)
    // A newer version of the token that describes the withdrawn service again is a new try.
    if (known !== undefined && known.request.version === request.version) {
      known.restart(settings, nowMs)
      touch(successor)
      tell(successor)
      return known.computeWanted()
    }
    const succession = new Succession(request, successor, predecessor, nowMs)
    const wanted = succession.computeWanted()
    successor.successions.set(predecessor.id, succession)
    if (successor.successions.size > SUCCESSIONS_MAX)
      successor.successions.delete(successor.successions.keys().next().value ?? '')
    const { token } = request
    log.info({ serviceId: successor.id, predecessorId: predecessor.id, token, wanted }, 'a new version is to take over')
    touch(successor)
    tell(successor)
    return wanted
  }

  /** @returns how many instances its successions ask for, and when to look again */
  review(service: ManagedService, nowMs: Millis): { readonly floor: number; readonly nextMs: Millis } {
    const { settings, tell, touch } = this.#options
    let floor = 0
    let nextMs = Number.POSITIVE_INFINITY
    for (const [predecessorId, succession] of service.successions) {
      const isMoot = service.staleness !== undefined && !succession.isWithdrawn
      if (isMoot || succession.isOver(settings, nowMs)) {
        service.successions.delete(predecessorId)
        tell(service)
        continue
      }
      const outcome = succession.review(settings, nowMs)
      if (outcome.isChanged) this.#tookOver(service, succession)
      if (this.#judge(service, succession, nowMs)) continue
      if (succession.isPending) floor = Math.max(floor, succession.computeWanted())
      nextMs = Math.min(nextMs, outcome.nextMs)
      const holdUntilMs = succession.holdsPredecessorUntilMs(settings)
      if (holdUntilMs > succession.predecessor.hold.untilMs) {
        succession.predecessor.hold = { untilMs: holdUntilMs, size: succession.predecessor.requested }
        touch(succession.predecessor)
      }
    }
    return { floor, nextMs }
  }

  #tookOver(service: ManagedService, succession: Succession): void {
    const { predecessorId, reason } = succession.describe()
    this.#options.log.info({ serviceId: service.id, predecessorId, reason }, 'a new version takes over')
    this.#options.tell(service)
  }

  /** @returns true when the version was withdrawn */
  #judge(service: ManagedService, succession: Succession, nowMs: Millis): boolean {
    if (succession.isWithdrawn || !succession.request.withdrawIfBad) return succession.isWithdrawn
    const verdict = succession.judge(this.#options.settings, nowMs)
    if (verdict.kind === 'keep') return false
    this.#withdraw(service, succession, verdict, nowMs)
    return true
  }

  #withdraw(
    service: ManagedService,
    succession: Succession,
    { code, reason }: { readonly code: WithdrawalCode; readonly reason: string },
    nowMs: Millis,
  ): void {
    const { log, tell, touch } = this.#options
    const { predecessorId, request, predecessor } = succession
    const { token, version } = request
    succession.withdraw(reason)
    log.warn({ serviceId: service.id, predecessorId, token, version, code, reason }, 'withdrew a bad version')
    // Whoever waits to be collected is wanted again.
    if (predecessor.deletion?.isRevocable && !predecessor.deletion.isStarted) predecessor.deletion = undefined
    tell(service)
    touch(predecessor)
    this.#record({ token, version, serviceId: service.id, predecessorId, code, reason, atMs: nowMs })
  }

  #record(withdrawal: Withdrawal): void {
    const { record, log, schedule } = this.#options
    record(withdrawal).catch(error => {
      log.warn({ err: error, token: withdrawal.token }, 'could not record a withdrawal; trying again')
      schedule(RECORD_RETRY_MS, () => this.#record(withdrawal))
    })
  }
}
