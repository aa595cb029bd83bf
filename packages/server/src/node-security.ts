import { readFileSync } from 'node:fs'
import { WaiterError } from '@waiter/base'
import { createNodeAuth, type NodeAuth, type NodeTls } from '@waiter/control'
import type { Settings } from './config/schema.ts'
import type { ChildContext } from './process/messages.ts'

/**
 * How this node proves to others that it belongs to the cluster, and what it asks of them.
 *
 * @throws WaiterError WTR_CONFIG for a certificate that cannot be read
 */
export function openNodeAuth({ settings, nodeId, clusterSecrets }: ChildContext): NodeAuth {
  const tls = readNodeTls(settings['cluster-config']['node-tls'])
  try {
    return createNodeAuth({ secrets: clusterSecrets, nodeId, tls })
  } catch (error) {
    if (tls === undefined) throw error
    throw configError(`certificate and key do not fit together: ${(error as Error).message}`, error)
  }
}

function readNodeTls(config: Settings['cluster-config']['node-tls']): NodeTls | undefined {
  if (config === undefined) return undefined
  const read = (key: 'ca-file' | 'cert-file' | 'key-file'): Buffer => {
    try {
      return readFileSync(config[key])
    } catch (error) {
      throw configError(`cannot read ${key} ${config[key]}: ${(error as Error).message}`, error)
    }
  }
  return { ca: read('ca-file'), cert: read('cert-file'), key: read('key-file'), serverName: config['server-name'] }
}

function configError(problem: string, cause: unknown): WaiterError {
  return new WaiterError(`cluster-config.node-tls: ${problem}`, { code: 'WTR_CONFIG', cause })
}
