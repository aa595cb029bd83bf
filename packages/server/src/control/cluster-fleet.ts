import type { Logger, Term } from '@waiter/base'
import { type NodeAuth, RemoteHost } from '@waiter/control'
import { type ContactLimits, type FleetHost, FleetScheduler, type HostReport } from '@waiter/schedulers'

/** Where a control node is. */
interface MemberPlace {
  readonly hostId: string
  readonly address: string
}

/** Where the control nodes are, and when that changes. */
export interface MembersSource {
  /** Empty texts: not known yet. */
  places(): readonly MemberPlace[]
  onMembersChange(listener: () => void): () => void
  /** Hosts that are to leave, with all their control nodes. */
  leavingHosts(): readonly string[]
}

export interface ClusterFleetOptions {
  /** This host: its scheduler is driven without a detour. */
  readonly local: FleetHost
  readonly source: MembersSource
  readonly term: Term
  readonly auth: NodeAuth
  readonly limits: ContactLimits
  /** Whether this host is about to stop; `review` when that changes. */
  readonly drains: () => boolean
  /** A host that is to leave is let go after this, whatever it still runs. */
  readonly moveMsMax: number
  readonly log: Logger
}

/** The schedulers of all hosts of the cluster, for one leader: hosts come and go with their control nodes. */
export class ClusterFleet {
  readonly scheduler: FleetScheduler
  readonly #options: ClusterFleetOptions
  readonly #remotes = new Map<string, RemoteHost>()
  /** Since when hosts have been asked for that are to leave and still run something. */
  readonly #leavingSinceMs = new Map<string, number>()
  readonly #unsubscribe: () => void

  constructor(options: ClusterFleetOptions) {
    this.#options = options
    this.scheduler = new FleetScheduler({ limits: options.limits, log: options.log })
    this.#unsubscribe = options.source.onMembersChange(() => this.#follow())
    this.#follow()
  }

  get hostIds(): readonly string[] {
    return [this.#options.local.hostId, ...this.#remotes.keys()]
  }

  describeHosts(): readonly HostReport[] {
    return this.scheduler.describeHosts()
  }

  /** A host drains, or does not any more. */
  review(): void {
    const { local, source, drains } = this.#options
    const draining = new Set(source.leavingHosts())
    if (drains()) draining.add(local.hostId)
    for (const remote of this.#remotes.values()) if (remote.drains) draining.add(remote.hostId)
    this.scheduler.setDraining(draining)
  }

  /** Whether a host that is to leave runs nothing any more that could be moved, or has had its time. */
  mayLeave(hostId: string, nowMs: number): boolean {
    const host = this.scheduler.describeHosts().find(one => one.hostId === hostId)
    const isBusy = host?.isLeft === true && host.contact === 'up' && host.instances > 0
    const sinceMs = this.#leavingSinceMs.get(hostId) ?? nowMs
    if (isBusy) this.#leavingSinceMs.set(hostId, sinceMs)
    else this.#leavingSinceMs.delete(hostId)
    return !isBusy || nowMs - sinceMs >= this.#options.moveMsMax
  }

  stop(): void {
    this.#unsubscribe()
    this.scheduler.stop()
    for (const remote of this.#remotes.values()) remote.close()
    this.#remotes.clear()
  }

  #follow(): void {
    const { local, source, term, auth, log } = this.#options
    const members = source.places()
    const addresses = addressesByHost(members.filter(({ hostId }) => hostId !== local.hostId))
    // A member of whom only the id is known may be of any host.
    const isComplete = members.every(({ hostId }) => hostId !== '')
    const gone = [...this.#remotes.values()].filter(({ hostId }) => isComplete && !addresses.has(hostId))
    for (const { hostId } of gone) this.#remotes.delete(hostId)
    for (const [hostId, list] of addresses) {
      const known = this.#remotes.get(hostId)
      if (known === undefined)
        this.#remotes.set(
          hostId,
          new RemoteHost({ hostId, term, auth, addresses: list, log, onDrains: () => this.review() }),
        )
      else known.setAddresses(list)
    }
    this.scheduler.setHosts([local, ...this.#remotes.values()])
    this.review()
    for (const remote of gone) remote.close()
  }
}

function addressesByHost(members: readonly MemberPlace[]): Map<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const { hostId, address } of members) {
    if (hostId === '') continue
    const list = found.get(hostId) ?? []
    if (address !== '') list.push(address)
    found.set(hostId, list)
  }
  return found
}
