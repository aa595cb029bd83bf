import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { WaiterError } from '@waiter/base'
import type { InstanceNetwork } from '@waiter/schedulers'
import { z } from 'zod'
import type { Settings } from './config/schema.ts'
import type { HostContext } from './process/messages.ts'
import { writeDurably } from './write-durably.ts'

const ID_BYTES = 8
const MODE = 0o600
/** Names that mean another machine to each who hears them. */
const OWN_MACHINE = new Set(['127.0.0.1', 'localhost', '::1'])
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/i
/** Ports of nodes that other hosts are to reach, unless configured. */
const PORT_DEFAULT = 9190
/** Two for each control node of a host. */
const CONTROL_PORTS = 20

/** What names of hosts, and so of nodes, look like. */
export const HOST_NAME: RegExp = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
/** Nodes of the host that founds a cluster, unless it has a name. */
const FOUNDER_NAME = 'node'

const hostFile = z.strictObject({
  format: z.literal(1),
  'host-id': z.string().regex(/^[0-9a-f]{16}$/),
  /** What the names of its nodes begin with. Absent: that of a founder. */
  name: z.string().regex(HOST_NAME).optional(),
  /** Whether another host founded the cluster, and whether its nodes have all left. */
  'has-joined': z.boolean().optional(),
  'has-left': z.boolean().optional(),
})

/** A host, as its data directory has it. */
export interface HostIdentity {
  readonly hostId: string
  readonly name: string
  readonly hasJoined: boolean
  readonly hasLeft: boolean
}

/** Whether only this machine can reach that. */
export function isLoopback(address: string): boolean {
  return LOOPBACK.test(address)
}

/**
 * The host that a data directory belongs to: it gets its id at its first start.
 *
 * @throws WaiterError WTR_DATA_DIR when it is damaged
 */
export function openHost(file: string): HostIdentity {
  if (!existsSync(file)) write(file, { format: 1, 'host-id': randomBytes(ID_BYTES).toString('hex') })
  const content = read(file)
  return {
    hostId: content['host-id'],
    name: content.name ?? FOUNDER_NAME,
    hasJoined: content['has-joined'] ?? false,
    hasLeft: content['has-left'] ?? false,
  }
}

/**
 * Names the host before its nodes get ids.
 *
 * @param wanted absent: the name it has, else one that no other host has
 * @throws WaiterError WTR_USAGE when its nodes have another name already
 */
export function nameHost(
  file: string,
  wanted: string | undefined,
  { isJoining, hasNodes }: { readonly isJoining: boolean; readonly hasNodes: boolean },
): HostIdentity {
  const content = read(file)
  const present = content.name ?? FOUNDER_NAME
  if (hasNodes && wanted !== undefined && wanted !== present)
    throw new WaiterError(`--name ${wanted}: the nodes of this data directory are called ${present}-… already`, {
      code: 'WTR_USAGE',
    })
  const own =
    isJoining && content.name === undefined ? `${FOUNDER_NAME}-${content['host-id'].slice(0, 6)}` : content.name
  const name = wanted ?? own
  write(file, {
    ...content,
    ...(name === undefined ? {} : { name }),
    ...(isJoining ? { 'has-joined': true, 'has-left': false } : {}),
  })
  return openHost(file)
}

/** The cluster has let all nodes of this host go. */
export function noteLeft(file: string): void {
  write(file, { ...read(file), 'has-left': true })
}

function write(file: string, content: z.infer<typeof hostFile>): void {
  writeDurably(file, `${JSON.stringify(content)}\n`, MODE)
}

function read(file: string): z.infer<typeof hostFile> {
  try {
    return hostFile.parse(JSON.parse(readFileSync(file, 'utf8')))
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

/** How other hosts reach instances of this one: nothing, unless another address than the usual one is advertised. */
export function instanceNetworkOf({ advertise, listen }: HostContext): { readonly network?: InstanceNetwork } {
  return OWN_MACHINE.has(advertise) ? {} : { network: { advertise, listen } }
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
