import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Logger } from '@waiter/base'
import type { Settings } from './config/schema.ts'
import type { DataDirectory } from './data-directory.ts'
import type { LogTarget } from './logging.ts'
import { type RunningNode, startNode } from './node.ts'
import { type StartOptions, WORKERS_MAX } from './options.ts'
import type { ClusterSecrets, NodeStart } from './process/messages.ts'
import { SupervisedChild } from './process/supervised-child.ts'

export interface RunningCluster {
  readonly nodes: readonly Omit<RunningNode, 'stop'>[]
  stop(graceMs: number): Promise<void>
}

export interface ClusterSpec {
  readonly options: StartOptions
  readonly settings: Settings
  readonly data: DataDirectory
  readonly logTarget: LogTarget
  readonly log: Logger
}

/**
 * Starts the nodes of this machine. A single node lives in this process; of several, each is a process of its own, so
 * that one can be killed without the others. The first node has the control role, all have a router.
 */
export async function startCluster(spec: ClusterSpec): Promise<RunningCluster> {
  const first = await startNode(nodeStart(spec, 1), spec.log)
  const others: { node: Omit<RunningNode, 'stop'>; child: SupervisedChild }[] = []
  const stop = async (graceMs: number): Promise<void> => {
    await Promise.all(others.map(other => other.child.stop(graceMs)))
    await first.stop(graceMs)
  }
  try {
    for (let index = 2; index <= spec.options.nodes; index++) {
      const start: NodeStart = { ...nodeStart(spec, index), control: first.grpc }
      const child = new SupervisedChild(entry(), () => start, spec.log)
      const http = await child.start()
      others.push({
        child,
        node: {
          id: start.nodeId,
          pid: child.pid ?? 0,
          roles: ['router'],
          http,
          https: child.secureAddress,
          workers: start.workers,
          grpc: first.grpc,
        },
      })
    }
  } catch (error) {
    await stop(0)
    throw error
  }
  return { nodes: [first, ...others.map(other => other.node)], stop }
}

function nodeStart(spec: ClusterSpec, index: number): NodeStart {
  const port = spec.options.port ?? spec.settings.port
  const securePort = spec.settings['server-options']['ssl-port']
  return {
    kind: 'start-node',
    workers: countWorkers(spec.options.workers ?? spec.settings.workers, spec.options.nodes),
    nodeId: `node-${index}`,
    settings: spec.settings,
    clusterSecrets: clusterSecretsOf(spec),
    log: spec.logTarget,
    data: spec.data.paths,
    bind: { host: spec.settings.host, port: portOfNode(port, index) },
    securePort: securePort === undefined ? undefined : portOfNode(securePort, index),
  }
}

/** The configured ones; else the one that the data directory keeps. */
function clusterSecretsOf({ settings, data }: ClusterSpec): ClusterSecrets {
  const [newest, ...older] = settings['password-store-config'].configured.passwords
  return newest === undefined ? [data.clusterSecret] : [newest, ...older]
}

/** The nodes of this machine take ports one after the other. */
function portOfNode(first: number, index: number): number {
  return first === 0 ? 0 : first + index - 1
}

/** `auto`: the nodes of this machine share its cores out. */
function countWorkers(wanted: number | 'auto', nodes: number): number {
  if (wanted !== 'auto') return wanted
  return Math.min(WORKERS_MAX, Math.max(1, Math.floor(availableParallelism() / nodes)))
}

function entry(): string {
  return fileURLToPath(new URL('./process/node-main.ts', import.meta.url))
}
