import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Logger } from '@waiter/base'
import type { Settings } from './config/schema.ts'
import { ControlGroup } from './control-group.ts'
import { countWorkers } from './count-workers.ts'
import type { DataDirectory } from './data-directory.ts'
import { depart, moveMsOf } from './departure.ts'
import { planNodePorts } from './host.ts'
import type { LogTarget } from './logging.ts'
import { leaveGroup } from './members/join-group.ts'
import { type OpenedHost, openHostOf, takeIn } from './open-host.ts'
import type { StartOptions } from './options.ts'
import type { ChildContext, ClusterSecrets, HostContext } from './process/messages.ts'
import { type RouterAddresses, RouterWorkers } from './router-workers.ts'

/** What runs on a node that leaves may take so long to end. */
const LEAVE_GRACE_MS = 120_000

/** One started node, as it is announced. */
export interface RunningNode {
  readonly id: string
  /**
   * Of a single node, this process. Of several, the node's control process, or its first router if it has none: what may
   * die without the others.
   */
  readonly pid: number
  readonly roles: readonly ('control' | 'router')[]
  /** Where clients send requests. */
  readonly http: string
  /** The same over TLS; undefined without. */
  readonly https: string | undefined
  /** Router processes that share that port. */
  readonly workers: number
  /** Where nodes reach its control process, or one that its routers follow. */
  readonly grpc: string
}

export interface RunningCluster {
  readonly nodes: readonly RunningNode[]
  /** Resolves when the cluster has let all nodes of this host go: there is nothing to run any more. */
  readonly left: Promise<void>
  /** How long a stop may take until what runs here runs on other hosts; 0: there are none. */
  readonly moveMs: number
  stop(graceMs: number): Promise<void>
}

export interface ClusterSpec {
  readonly options: StartOptions
  readonly settings: Settings
  readonly data: DataDirectory
  readonly logTarget: LogTarget
  readonly log: Logger
}

interface HostSpec extends ClusterSpec {
  readonly host: HostContext
}

/** The routers of one node. */
interface RouterSeat {
  readonly nodeId: string
  readonly workers: RouterWorkers
  readonly count: number
}

/**
 * Starts the nodes of this host: their routers, and, of the first one, three or five of them, a control process each.
 * Control processes and routers are processes of their own, so that a burst of proxy work cannot starve the control plane;
 * this process only keeps them alive.
 */
export async function startCluster(given: ClusterSpec): Promise<RunningCluster> {
  const opened = await openHostOf(given, (host, nodeId) => contextOf({ ...given, host }, nodeId, 'launcher'))
  const { host, nodeIds, members, known } = opened
  const spec: HostSpec = { ...given, host }
  const { data, log } = spec
  const left = Promise.withResolvers<void>()
  // A host is left when all its nodes are.
  const onDrain = (): void => controls.drain(routers.length > 0 && routers.every(({ workers }) => workers.isDraining))
  // Any other router of this host tells the leader: it need not wait for who will never be heard again.
  const onEnd = (routerId: string): void => {
    for (const { workers } of routers) workers.send({ kind: 'router-ended', routerId })
  }
  const routers: RouterSeat[] = nodeIds.map((nodeId, index) =>
    createRouters(spec, { nodeId, index, nodes: nodeIds.length, onDrain, onEnd }, () => controls),
  )
  const controls: ControlGroup = new ControlGroup({
    members,
    known,
    host,
    ports: planNodePorts(spec.settings),
    schedulerDirectory: data.paths.scheduler,
    context: nodeId => contextOf(spec, nodeId, 'control'),
    onChange: members => {
      for (const { workers } of routers) workers.send({ kind: 'members', members })
    },
    onRemoved: async nodeId => {
      const index = routers.findIndex(seat => seat.nodeId === nodeId)
      if (index >= 0) await routers.splice(index, 1)[0]?.workers.stop(LEAVE_GRACE_MS)
    },
    onRetired: () => {
      if (routers.length === 0) left.resolve()
    },
    log,
  })
  // Routers first: no request is accepted any more when the instances go.
  const stop = async (graceMs: number): Promise<void> => {
    await Promise.all(routers.map(({ workers }) => workers.stop(graceMs)))
    await controls.stop(graceMs)
  }
  await controls.start()
  try {
    const seats = [...routers]
    const addresses = await settleAll(seats.map(({ workers }) => workers.start()))
    await settleMembers(spec, opened, controls)
    const nodes = seats.map((seat, index) =>
      describeNode(seat, addresses[index] as RouterAddresses, { ...opened, controls, isAlone: nodeIds.length === 1 }),
    )
    controls.settle()
    const departure = { routers, controls, settings: spec.settings, log }
    return {
      nodes,
      left: left.promise,
      get moveMs() {
        return moveMsOf(departure)
      },
      stop: async graceMs => {
        await depart(departure)
        await stop(graceMs)
      },
    }
  } catch (error) {
    await stop(0)
    throw error
  }
}

/** Lets the group take in who is new, and let go who is not wanted; waits until somebody leads. */
async function settleMembers(spec: HostSpec, { members, nodeIds }: OpenedHost, controls: ControlGroup): Promise<void> {
  const { options, log } = spec
  const context = contextOf(spec, nodeIds[0] ?? '', 'launcher')
  const seeds = (): string[] => [...controls.members.map(({ grpc }) => grpc), ...options.join]
  const taken = await takeIn(members.newcomers, { seeds, context, log })
  await Promise.all(taken.map(({ id, node }) => controls.add(id, node)))
  await controls.led()
  if (members.unwanted.length > 0)
    void leaveGroup({ seeds, context, nodes: members.unwanted, log }).catch(error =>
      log.error({ err: error }, 'nodes that are not wanted any more could not leave'),
    )
}

/** Waits for all of them, also when one fails: nothing is left half started. */
async function settleAll<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises)
  return await Promise.all(promises)
}

function describeNode(
  { nodeId, workers, count }: RouterSeat,
  { http, https }: RouterAddresses,
  cluster: { readonly controls: ControlGroup; readonly controlIds: readonly string[]; readonly isAlone: boolean },
): RunningNode {
  const { controls, controlIds, isAlone } = cluster
  const own = controls.members.find(member => member.nodeId === nodeId)
  return {
    id: nodeId,
    pid: isAlone ? process.pid : (controls.pidOf(nodeId) ?? workers.pid ?? 0),
    roles: controlIds.includes(nodeId) ? ['control', 'router'] : ['router'],
    http,
    https,
    workers: count,
    grpc: (own ?? controls.members[0])?.grpc ?? '',
  }
}

interface SeatSpec {
  readonly nodeId: string
  readonly index: number
  /** Of this host. */
  readonly nodes: number
  /** Its workers drain, or do not any more. */
  readonly onDrain: () => void
  /** One of its workers has ended. */
  readonly onEnd: (routerId: string) => void
}

function createRouters(
  spec: HostSpec,
  { nodeId, index, nodes, onDrain, onEnd }: SeatSpec,
  controls: () => ControlGroup,
): RouterSeat {
  const { options, settings } = spec
  const port = options.port ?? settings.port
  const securePort = settings['server-options']['ssl-port']
  const count = countWorkers(options.workers ?? settings.workers, nodes, availableParallelism())
  const ports = planNodePorts(settings)
  const workers = new RouterWorkers({
    entry: entry('router-main.ts'),
    count,
    bind: { host: settings.host, port: portOfNode(port, index) },
    securePort: securePort === undefined ? undefined : portOfNode(securePort, index),
    startMessage: worker => {
      const role = worker === 1 ? 'router' : `router-${worker}`
      return {
        ...contextOf(spec, nodeId, role),
        requestLogFile: requestLogFileOf(spec, nodeId, role),
        controls: controls().members,
        peerBind: { host: spec.host.listen, port: ports.peers(index * count + worker - 1) },
        gossipBind: { host: spec.host.listen, port: ports.gossip(index * count + worker - 1) },
      }
    },
    onNews: news => {
      if (news.kind === 'controls') controls().hear(news.members, news.version)
    },
    onDrain,
    onEnd,
    log: spec.log,
  })
  return { nodeId, workers, count }
}

function contextOf(spec: HostSpec, nodeId: string, role: string): ChildContext {
  const { settings, logTarget, data, host } = spec
  const log =
    logTarget.kind === 'stderr' ? logTarget : { ...logTarget, path: join(data.paths.logs, `${nodeId}-${role}.log`) }
  return { nodeId, host, settings, clusterSecrets: clusterSecretsOf(spec), log }
}

function requestLogFileOf({ settings, data }: ClusterSpec, nodeId: string, role: string): string {
  return join(settings['request-log'].directory ?? data.paths.logs, `${nodeId}-${role}-requests.log`)
}

/** The configured ones; else the one that the data directory keeps. */
function clusterSecretsOf({ settings, data }: ClusterSpec): ClusterSecrets {
  const [newest, ...older] = settings['password-store-config'].configured.passwords
  return newest === undefined ? [data.clusterSecret] : [newest, ...older]
}

/** The nodes of this machine take ports one after the other. */
function portOfNode(first: number, index: number): number {
  return first === 0 ? 0 : first + index
}

function entry(file: string): string {
  return fileURLToPath(new URL(`./process/${file}`, import.meta.url))
}
