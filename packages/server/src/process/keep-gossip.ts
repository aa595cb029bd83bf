import type { Logger } from '@waiter/base'
import { GossipNode } from '@waiter/gossip/node'
import type { RouterGossip } from '@waiter/router'
import type { RouterStart } from './messages.ts'

/** What keeps it from starting may pass: no free port, no memory. */
const RETRY_MS = 30_000
/** Who is told goodbye hears it within half a second; nobody waits longer for it. */
const LEAVE_MS_MAX = 2_000

/** This process's place in the gossip group. */
export interface KeptGossip {
  /** Where it gossips; empty: it does not at present. */
  address(): string
  /** Says goodbye and ends. */
  stop(): Promise<void>
}

/** Keeps a router in the gossip group. Without gossip a router serves as well: nothing that goes wrong here is thrown. */
export async function keepGossip(message: RouterStart, gossip: RouterGossip, log: Logger): Promise<KeptGossip> {
  let node: GossipNode | undefined
  let timer: NodeJS.Timeout | undefined
  let isStopped = false
  const retry = (): void => {
    node = undefined
    gossip.quit()
    if (isStopped) return
    clearTimeout(timer)
    timer = setTimeout(() => void start(), RETRY_MS)
    timer.unref()
  }
  const start = async (): Promise<void> => {
    try {
      const started = await GossipNode.start({
        ...nodeOptionsOf(message),
        log,
        onRow: id => gossip.onRow(id),
        onMember: change => gossip.onMember(change),
        onFailed: retry,
      })
      if (isStopped) return await started.stop()
      node = started
      gossip.join(started)
    } catch (error) {
      log.error({ err: error, retryMs: RETRY_MS }, 'gossip did not start; the router serves without')
      retry()
    }
  }
  await start()
  return {
    address: () => node?.address ?? '',
    stop: async () => {
      isStopped = true
      clearTimeout(timer)
      gossip.stop()
      const late = Promise.withResolvers<void>()
      const giveUp = setTimeout(late.resolve, LEAVE_MS_MAX)
      await Promise.race([node?.leave(), late.promise])
      clearTimeout(giveUp)
      await node?.stop()
    },
  }
}

/** The seat of a router process: the next one on it takes the place of this one at once. */
function seatOf({ nodeId, worker }: RouterStart): string {
  return `${nodeId}-worker-${worker}`
}

function nodeOptionsOf(message: RouterStart) {
  const { settings, clusterSecrets, gossipBind, host } = message
  const config = settings['gossip-config']
  return {
    id: seatOf(message),
    bind: gossipBind,
    advertisedHost: host.advertise,
    secrets: clusterSecrets,
    cluster: settings['cluster-config'].name,
    settings: {
      probeIntervalMs: config['probe-interval-ms'],
      probeTimeoutMs: config['probe-timeout-ms'],
      suspicionMultiplier: config['suspicion-multiplier'],
      rowIntervalMs: config['row-interval-ms'],
      pushPullIntervalMs: config['full-exchange-interval-ms'],
    },
  }
}
