import { type Logger, type ServiceId, WaiterError } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import { schedulerError } from '../errors.ts'
import type { Timers } from '../process/timers.ts'
import type { Fence } from '../scheduler.ts'
import { chooseHosts, type HostLoad } from './choose-hosts.ts'
import type { FailedStarts } from './failed-starts.ts'
import type { Hearing } from './hearing.ts'
import type { HostFollower } from './host-follower.ts'

export interface PlacementOptions {
  readonly followers: ReadonlyMap<string, HostFollower>
  readonly failedStarts: FailedStarts
  readonly hearing: Hearing
  readonly timers: Timers
  readonly log: Logger
}

/** Has instances started on hosts: where {@link chooseHosts} says, and elsewhere if that does not work. */
export class Placement {
  readonly #options: PlacementOptions

  constructor(options: PlacementOptions) {
    this.#options = options
  }

  /** Whether another host is there where the service has not failed lately. */
  hasOther(than: HostFollower, id: ServiceId): boolean {
    return this.#candidates().some(follower => follower !== than && !this.#isAvoided(id, follower))
  }

  /**
   * Requests `count` more instances.
   *
   * @throws WaiterError what the last host said when none takes them, or what any said that no other would see otherwise
   */
  async start(definition: ServiceDefinition, count: number, fence: Fence): Promise<void> {
    const refusing = new Set<HostFollower>()
    let refusal: WaiterError | undefined
    let missing = count
    do {
      const followers = this.#candidates().filter(follower => !refusing.has(follower))
      const places = this.#choose(followers, definition, missing)
      if (places.length === 0) throw refusal ?? noHost()
      const outcomes = await Promise.allSettled(
        places.map(async ({ follower, share }) => await this.#startAt(follower, definition, share, fence)),
      )
      missing = 0
      for (const [at, outcome] of outcomes.entries()) {
        const place = places[at]
        if (outcome.status === 'fulfilled' || place === undefined) continue
        if (!(outcome.reason instanceof WaiterError && outcome.reason.retryable)) throw outcome.reason
        this.#options.log.warn(
          { err: outcome.reason, serviceId: definition.id, hostId: place.follower.host.hostId },
          'a host does not start a service; trying another',
        )
        refusal = outcome.reason
        refusing.add(place.follower)
        missing += place.share
      }
    } while (missing > 0)
  }

  /** A host that is to be left is better than none. */
  #candidates(): readonly HostFollower[] {
    const heard = [...this.#options.followers.values()].filter(follower => follower.isHeard)
    const staying = heard.filter(follower => !follower.drains)
    return staying.length > 0 ? staying : heard
  }

  #choose(
    followers: readonly HostFollower[],
    definition: ServiceDefinition,
    count: number,
  ): readonly { readonly follower: HostFollower; readonly share: number }[] {
    const { cpus, mem: memMb } = definition.effective
    const loads = followers.map((follower): HostLoad => {
      const { host, mirror, pending } = follower
      return {
        hostId: host.hostId,
        capacity: host.capacity(),
        requestedCpus: mirror.reserved.cpus + pending.cpus,
        requestedMemMb: mirror.reserved.memMb + pending.memMb,
        instances: mirror.requested(definition.id),
        isAvoided: this.#isAvoided(definition.id, follower),
      }
    })
    // A service that is to have none yet is known by somebody all the same.
    const chosen = chooseHosts(loads, Math.max(1, count), { cpus, memMb })
    return followers.flatMap(follower => {
      const share = chosen.get(follower.host.hostId)
      return share === undefined ? [] : [{ follower, share: Math.min(share, count) }]
    })
  }

  #isAvoided(id: ServiceId, { host, mirror }: HostFollower): boolean {
    const { failedStarts, timers } = this.#options
    return failedStarts.isAvoided(id, host.hostId, timers.nowMs()) || mirror.find(id)?.startTrouble != null
  }

  async #startAt(
    { host, mirror, pending }: HostFollower,
    definition: ServiceDefinition,
    share: number,
    fence: Fence,
  ): Promise<void> {
    const { id, effective } = definition
    const cpus = share * effective.cpus
    const memMb = share * effective.mem
    const to = mirror.requested(id) + share
    pending.cpus += cpus
    pending.memMb += memMb
    try {
      if (mirror.has(id)) await host.scheduler.scale(id, to, fence)
      else await host.scheduler.create(definition, share, fence)
      await this.#options.hearing.until(() => mirror.has(id) && mirror.requested(id) >= to)
    } finally {
      pending.cpus -= cpus
      pending.memMb -= memMb
    }
  }
}

function noHost(): WaiterError {
  return schedulerError(
    'WTR_NO_HOST',
    'No host of the cluster can be told to start instances at present; it is tried again.',
  )
}
