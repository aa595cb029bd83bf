/** What a host can carry. */
export interface HostCapacity {
  readonly cpus: number
  readonly memMb: number
}

/** A host as the choice of places sees it. Counts are of what is requested, not of what is used at the moment. */
export interface HostLoad {
  readonly hostId: string
  readonly capacity: HostCapacity
  readonly requestedCpus: number
  readonly requestedMemMb: number
  /** Instances of the service in question. */
  readonly instances: number
  /** The service could not be started there lately. */
  readonly isAvoided: boolean
}

/** What one instance asks for. */
export interface PlaceDemand {
  readonly cpus: number
  readonly memMb: number
}

/**
 * Chooses a host for each of `count` instances of one service, one after the other. In this order count:
 *
 * 1. Hosts where the service failed to start lately are the last choice.
 * 2. A host with room is better than a full one. When all are full the one that is least beyond its capacity takes it:
 *    a service must start, and what is requested is seldom used in full.
 * 3. The fewer instances of the service a host has, the better: the loss of a host should take few of them.
 * 4. The emptier, the better.
 * 5. The first one by id.
 *
 * @returns how many each host gets; hosts that get none are left out; empty without hosts
 */
export function chooseHosts(
  hosts: readonly HostLoad[],
  count: number,
  demand: PlaceDemand,
): ReadonlyMap<string, number> {
  const loads = new Map(hosts.map(host => [host.hostId, host]))
  const chosen = new Map<string, number>()
  for (let placed = 0; placed < count && loads.size > 0; placed++) {
    const [best] = [...loads.values()].sort((a, b) => compareHosts(a, b, demand))
    if (best === undefined) break
    chosen.set(best.hostId, (chosen.get(best.hostId) ?? 0) + 1)
    loads.set(best.hostId, {
      ...best,
      instances: best.instances + 1,
      requestedCpus: best.requestedCpus + demand.cpus,
      requestedMemMb: best.requestedMemMb + demand.memMb,
    })
  }
  return chosen
}

function compareHosts(a: HostLoad, b: HostLoad, demand: PlaceDemand): number {
  if (a.isAvoided !== b.isAvoided) return a.isAvoided ? 1 : -1
  const fillA = fillWith(a, demand)
  const fillB = fillWith(b, demand)
  const isFullA = fillA > 1
  const isFullB = fillB > 1
  if (isFullA !== isFullB) return isFullA ? 1 : -1
  const byFill = fillA - fillB
  const bySpread = a.instances - b.instances
  return (isFullA ? byFill || bySpread : bySpread || byFill) || (a.hostId < b.hostId ? -1 : 1)
}

/** The fuller of the two resources with this instance: 1 is full. */
function fillWith({ capacity, requestedCpus, requestedMemMb }: HostLoad, { cpus, memMb }: PlaceDemand): number {
  return Math.max(
    (requestedCpus + cpus) / Math.max(capacity.cpus, Number.EPSILON),
    (requestedMemMb + memMb) / Math.max(capacity.memMb, Number.EPSILON),
  )
}
