import type { Logger, Term } from '@waiter/base'
import { type NodeAuth, RemoteHost } from '@waiter/control'
import { type ContactLimits, type FleetHost, FleetScheduler } from '@waiter/schedulers'

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
}

export interface ClusterFleetOptions {
  /** This host: its scheduler is driven without a detour. */
  readonly local: FleetHost
  readonly source: MembersSource
  readonly term: Term
  readonly auth: NodeAuth
  readonly limits: ContactLimits
  readonly log: Logger
}

/** The schedulers of all hosts of the cluster, for one leader: hosts come and go with their control nodes. */
export class ClusterFleet {
  readonly scheduler: FleetScheduler
  readonly #options: ClusterFleetOptions
  readonly #remotes = new Map<string, RemoteHost>()
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
      if (known === undefined) this.#remotes.set(hostId, new RemoteHost({ hostId, term, auth, addresses: list, log }))
      else known.setAddresses(list)
    }
    this.scheduler.setHosts([local, ...this.#remotes.values()])
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
