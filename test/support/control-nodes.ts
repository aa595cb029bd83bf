import { eventually, type StartedWaiter } from '@waiter/testkit'

/** Who leads, as the router at this port believes. */
export interface SeenLeader {
  readonly leaderId: string
  readonly term: number
  readonly isConnected: boolean
}

/** Asks one router. */
export async function seeLeader(waiter: StartedWaiter, port: number): Promise<SeenLeader> {
  const { state } = await waiter.api('/state/leader', port)
  return { leaderId: state['leader-id'], term: state.term, isConnected: state['connected?'] }
}

/** Waits until all routers are attached to one leader, of a term above this one. */
export async function untilLed(waiter: StartedWaiter, termAbove = 0): Promise<SeenLeader> {
  return await eventually(async () => {
    const seen = await Promise.all(waiter.ports.map(port => seeLeader(waiter, port)))
    const [first] = seen
    const isAgreed = seen.every(({ isConnected, term }) => isConnected && term === first?.term && term > termAbove)
    return isAgreed ? first : undefined
  }, `all routers to follow a leader of a term above ${termAbove}`)
}

/**
 * Waits until every router hears of all of them from the leader. Ready means that each serves: a router says hello to
 * the leader on a stream of its own, maybe a moment later.
 */
export async function untilAllKnown(waiter: StartedWaiter, count = waiter.ports.length): Promise<void> {
  for (const port of waiter.ports)
    await eventually(async () => {
      const { routers } = await waiter.api('/state', port)
      return Object.keys(routers).length === count || undefined
    }, `all ${count} routers to be known at port ${port}`)
}

/** The control process that a node was announced with. */
export function controlPidOf(waiter: StartedWaiter, nodeId: string): number {
  const node = waiter.nodes.find(({ id }) => id === nodeId)
  if (node === undefined) throw new Error(`no node ${nodeId}`)
  return node.pid
}

/** Requests to all routers in turn, several at a time, until told to stop. */
export function keepAsking(
  waiter: StartedWaiter,
  token: string,
): { readonly answered: () => number; stop(): Promise<number[]> } {
  const ASKERS = 3
  const BROKEN = 0
  let isAsking = true
  const statuses: number[] = []
  const askers = Array.from({ length: ASKERS }, async (_, asker) => {
    for (let round = 0; isAsking; round++) {
      const port = waiter.ports[(asker + round) % waiter.ports.length] ?? 0
      // A connection that breaks is a failure to be seen at the end, not one that nobody waits for.
      const answer = await waiter.request({ port, headers: { 'x-waiter-token': token } }).catch(() => undefined)
      statuses.push(answer?.status ?? BROKEN)
    }
  })
  return {
    answered: () => statuses.length,
    stop: async () => {
      isAsking = false
      await Promise.all(askers)
      return statuses
    },
  }
}
