import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { WaiterError } from '@waiter/base'
import { z } from 'zod'
import type { Settings } from './config/schema.ts'
import type { HostContext } from './process/messages.ts'
import { writeDurably } from './write-durably.ts'

const ID_BYTES = 8
const MODE = 0o600
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/i
/** Ports of nodes that other hosts are to reach, unless configured. */
const PORT_DEFAULT = 9190
/** Two for each control node of a host. */
const CONTROL_PORTS = 20

const hostFile = z.strictObject({
  format: z.literal(1),
  'host-id': z.string().regex(/^[0-9a-f]{16}$/),
})

/** Whether only this machine can reach that. */
export function isLoopback(address: string): boolean {
  return LOOPBACK.test(address)
}

/**
 * The id of the host that a data directory belongs to: made at its first start.
 *
 * @throws WaiterError WTR_DATA_DIR when it is damaged
 */
export function openHostId(file: string): string {
  if (!existsSync(file)) {
    const content = { format: 1, 'host-id': randomBytes(ID_BYTES).toString('hex') }
    writeDurably(file, `${JSON.stringify(content)}\n`, MODE)
  }
  try {
    return hostFile.parse(JSON.parse(readFileSync(file, 'utf8')))['host-id']
  } catch (error) {
    throw new WaiterError(
      `${file} is damaged: restore it from a backup. Other hosts of the cluster know this one by the id in it.`,
      { code: 'WTR_DATA_DIR', cause: error },
    )
  }
}

/** This start of a host. */
export function createHostContext(hostId: string, { 'cluster-config': config }: Settings): HostContext {
  const { advertise } = config
  return { hostId, startId: randomUUID(), listen: config.host ?? advertise, advertise }
}

/** Ports by which nodes of this host call each other and are called. 0: any that is free. */
export interface NodePorts {
  readonly isFixed: boolean
  /** Of the control node on this seat, from 0. */
  grpc(seat: number): number
  raft(seat: number): number
  /** Of a router, from 0, where others borrow slots. */
  peers(router: number): number
  /** Of a router, where it gossips: UDP and TCP. */
  gossip(router: number): number
}

/** In one piece from the first port on: a firewall can let them through. */
export function planNodePorts({ 'cluster-config': { port, advertise } }: Settings): NodePorts {
  const first = port ?? (isLoopback(advertise) ? 0 : PORT_DEFAULT)
  const at = (offset: number): number => (first === 0 ? 0 : first + offset)
  return {
    isFixed: first !== 0,
    grpc: seat => at(2 * seat),
    raft: seat => at(2 * seat + 1),
    peers: router => at(CONTROL_PORTS + 2 * router),
    gossip: router => at(CONTROL_PORTS + 2 * router + 1),
  }
}
