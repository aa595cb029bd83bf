import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Logger } from '@waiter/base'
import type { DataPaths } from './data-directory.ts'
import type { LogTarget } from './logging.ts'
import type { ChildContext, NodeStart } from './process/messages.ts'
import { SupervisedChild } from './process/supervised-child.ts'
import { portOf, RouterWorkers } from './router-workers.ts'

/** Control traffic stays on this machine. */
const CONTROL_HOST = '127.0.0.1'

/** One started node: its control process, when it has that role, and its routers. */
export interface RunningNode {
  readonly id: string
  readonly pid: number
  readonly roles: readonly ('control' | 'router')[]
  /** Where clients send requests. */
  readonly http: string
  /** The same over TLS; undefined without. */
  readonly https: string | undefined
  /** Router processes that share that port. */
  readonly workers: number
  /** Where nodes reach its control process, or the control process that it follows. */
  readonly grpc: string
  stop(graceMs: number): Promise<void>
}

/**
 * Starts one node. Control side and routers are processes of their own, so that a burst of proxy work cannot starve the
 * control plane; this process only keeps them alive.
 */
export async function startNode(start: NodeStart, log: Logger): Promise<RunningNode> {
  const context = (role: string): ChildContext => ({
    nodeId: start.nodeId,
    settings: start.settings,
    clusterSecrets: start.clusterSecrets,
    log: logTargetOf(start, role),
  })
  const control =
    start.control === undefined
      ? new SupervisedChild(
          entry('control-main.ts'),
          keptAddress => ({
            kind: 'start-control',
            ...context('control'),
            ...controlPaths(start.data),
            bind: { host: CONTROL_HOST, port: portOf(keptAddress) },
          }),
          log,
        )
      : undefined
  const grpc = start.control ?? (await control?.start()) ?? ''
  const routers = new RouterWorkers({
    entry: entry('router-main.ts'),
    count: start.workers,
    bind: start.bind,
    securePort: start.securePort,
    startMessage: worker => {
      const role = worker === 1 ? 'router' : `router-${worker}`
      return { ...context(role), requestLogFile: requestLogFileOf(start, role), control: grpc }
    },
    log,
  })
  try {
    const { http, https } = await routers.start()
    return {
      id: start.nodeId,
      pid: process.pid,
      roles: control === undefined ? ['router'] : ['control', 'router'],
      http,
      https,
      workers: start.workers,
      grpc,
      // Routers first: no request is accepted any more when the instances go.
      stop: async graceMs => {
        await routers.stop(graceMs)
        await control?.stop(graceMs)
      },
    }
  } catch (error) {
    await control?.stop(0)
    throw error
  }
}

function entry(file: string): string {
  return fileURLToPath(new URL(`./process/${file}`, import.meta.url))
}

function controlPaths(data: DataPaths): { storeDirectory: string; schedulerDirectory: string; termFile: string } {
  return { storeDirectory: data.store, schedulerDirectory: data.scheduler, termFile: join(data.path, 'term') }
}

function logTargetOf(start: NodeStart, role: string): LogTarget {
  if (start.log.kind === 'stderr') return start.log
  return { ...start.log, path: join(start.data.logs, `${start.nodeId}-${role}.log`) }
}

function requestLogFileOf(start: NodeStart, role: string): string {
  return join(start.settings['request-log'].directory ?? start.data.logs, `${start.nodeId}-${role}-requests.log`)
}
