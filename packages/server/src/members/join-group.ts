import { setTimeout as delay } from 'node:timers/promises'
import { type Logger, WaiterError } from '@waiter/base'
import type { ClusterCalls, JoinRequest, JoinResponse } from '@waiter/control'
import type { ChildContext } from '../process/messages.ts'
import { CLUSTER_PROTOCOL, VERSION } from '../version.ts'
import type { Newcomer } from './plan-members.ts'

/** Hosts of a cluster may be started together: seeds come up, and elect a leader, within this. */
const PATIENCE_MS = 30_000
const RETRY_MS = 300
/** Whoever says this says it for good. */
const FINAL: ReadonlySet<string> = new Set([
  'WTR_WRONG_CLUSTER',
  'WTR_WRONG_VERSION',
  'WTR_NAME_TAKEN',
  'WTR_BAD_REQUEST',
])
const WRONG_SECRET = /wrong cluster secret/

export type JoinOptions = JoinOptionsFor<readonly Newcomer[]>

interface JoinOptionsFor<Nodes> {
  /** Where control nodes may be, in the order to ask them. Asked anew before each attempt. */
  readonly seeds: () => readonly string[]
  readonly context: ChildContext
  readonly nodes: Nodes
  readonly log: Logger
  readonly patienceMs?: number
}

/**
 * Asks the group to take nodes of this host in; without nodes, only who it is.
 *
 * @throws WaiterError WTR_NODE_REFUSED, WTR_WRONG_CLUSTER, WTR_WRONG_VERSION, WTR_NAME_TAKEN, or WTR_SEED_UNREACHABLE when
 *   nobody has answered for long
 */
export async function joinGroup(options: JoinOptions): Promise<JoinResponse> {
  // Only such starts need it: the launcher of a host that is not new stays small.
  const [{ createClusterCalls }, { openNodeAuth }] = await Promise.all([
    import('@waiter/control'),
    import('../node-security.ts'),
  ])
  const calls = createClusterCalls(openNodeAuth(options.context))
  try {
    return await askUntilTaken(calls, options)
  } finally {
    calls.close()
  }
}

/** Asks the group to let nodes of this host go; tried until it is noted. */
export async function leaveGroup(options: JoinOptionsFor<readonly string[]>): Promise<void> {
  const [{ createClusterCalls, onlyControl }, { openNodeAuth }] = await Promise.all([
    import('@waiter/control'),
    import('../node-security.ts'),
  ])
  const { seeds, context, nodes, log, patienceMs = PATIENCE_MS } = options
  const calls = createClusterCalls(openNodeAuth(context))
  const giveUpAtMs = performance.now() + patienceMs
  try {
    for (;;) {
      for (const seed of new Set(seeds())) {
        try {
          await calls.leave(onlyControl(seed), { nodeIds: [...nodes], force: false })
          return
        } catch (error) {
          log.info({ err: error, seed, nodes }, 'nodes could not leave yet')
          if (performance.now() > giveUpAtMs) throw error
        }
      }
      await delay(RETRY_MS)
    }
  } finally {
    calls.close()
  }
}

async function askUntilTaken(calls: ClusterCalls, options: JoinOptions): Promise<JoinResponse> {
  const { seeds, context, nodes, log, patienceMs = PATIENCE_MS } = options
  const { settings, host } = context
  const request: JoinRequest = {
    caller: { protocol: CLUSTER_PROTOCOL, release: VERSION, cluster: settings['cluster-config'].name },
    hostId: host.hostId,
    nodes: nodes.map(({ node: nodeId, replaces }) => ({ nodeId, replaces })),
  }
  const giveUpAtMs = performance.now() + patienceMs
  for (;;) {
    const failures: { seed: string; error: unknown }[] = []
    for (const seed of new Set(seeds())) {
      try {
        return await calls.join(seed, request)
      } catch (error) {
        throwIfFinal(seed, error)
        failures.push({ seed, error })
        log.info({ reason: reasonOf(error).reason, seed }, 'a control node could not take this host in yet')
      }
    }
    if (performance.now() > giveUpAtMs) throw unreachable(failures)
    await delay(RETRY_MS)
  }
}

function throwIfFinal(seed: string, error: unknown): void {
  if (!(error instanceof WaiterError)) throw error
  if (error.code === 'WTR_NODE_REFUSED' && WRONG_SECRET.test(error.message))
    throw new WaiterError(
      `${seed} refuses this host: ${error.message}. Start it with --secret-file FILE, a copy of the file cluster-secret in ` +
        'the data directory of any host of the cluster (or the same password-store-config)',
      { code: error.code, cause: error },
    )
  if (FINAL.has(error.code)) throw new WaiterError(`${seed}: ${error.message}`, { code: error.code, cause: error })
}

/** What gRPC says of a seed that is none, and what that means. Each once, of whatever seeds. */
const REASONS: readonly (readonly [pattern: RegExp, reason: string, mend: string])[] = [
  [
    /ECONNREFUSED/,
    'nothing listens there',
    'a control node of the cluster runs at `address` in `waiter cluster members`: is that host up, started with --advertise?',
  ],
  [
    /^Not found|HTTP status|Protocol error|Received HTTP/i,
    'something else listens there',
    'it takes the port of a control node, not of a router: `address` in `waiter cluster members` (9190 unless --cluster-port)',
  ],
  [/Name resolution failed|ENOTFOUND|EAI_AGAIN/, 'the name is not known', 'is it spelt right, and known to DNS here?'],
  [
    /EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|Deadline exceeded|keepalive/i,
    'it does not answer',
    'is the host up, and does a firewall let TCP from cluster-config.port on through?',
  ],
  [
    /ssl|tls|certificate|EPROTO|socket hang up|ECONNRESET/i,
    'it ends the connection',
    'do both have the same node-tls?',
  ],
]

/** gRPC says what the system said; a node says more. */
function reasonOf(error: unknown): { readonly reason: string; readonly mend?: string } {
  if (!(error instanceof WaiterError)) return { reason: String(error) }
  const details = (error.cause as { details?: unknown } | undefined)?.details
  if (error.code !== 'WTR_CONTROL_UNREACHABLE' || typeof details !== 'string')
    return { reason: `${error.code}: ${error.message}` }
  for (const [pattern, reason, mend] of REASONS) if (pattern.test(details)) return { reason, mend }
  return { reason: details, mend: 'are address and port right, and do both have the same node-tls?' }
}

/** @param failures of the last round, one for each seed */
export function unreachable(failures: readonly { readonly seed: string; readonly error: unknown }[]): WaiterError {
  const reasons = failures.map(({ seed, error }) => ({ seed, ...reasonOf(error) }))
  const mends = new Set(reasons.flatMap(({ mend }) => (mend === undefined ? [] : [mend])))
  const list = reasons.map(({ seed, reason }) => `${seed}: ${reason}`).join('; ')
  return new WaiterError(
    `no control node takes this host in: ${list}.${[...mends].map(mend => ` ${mend[0]?.toUpperCase()}${mend.slice(1)}${/[?]$/.test(mend) ? '' : '.'}`).join('')}` +
      ' Most control nodes must run.',
    { code: 'WTR_SEED_UNREACHABLE' },
  )
}
