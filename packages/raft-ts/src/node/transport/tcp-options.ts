import type { Logger } from '@waiter/base'
import type { NodeId } from '../../index.ts'
import type { TransportSecurity } from './security.ts'

/** Where a node listens. */
export interface PeerAddress {
  readonly host: string
  readonly port: number
}

/** What a TCP transport needs. */
export interface TcpTransportOptions {
  readonly id: NodeId
  /** The same on all members; connections of other groups are refused. */
  readonly group: string
  /** Who may speak to this node. There is no default. */
  readonly security: TransportSecurity
  /** Told of peers that are refused or cannot be reached, and why; at most once a second. */
  readonly log?: Logger
  /** Port 0 takes any; see `TcpTransport.port`. */
  readonly listen: PeerAddress
  /** The others; more can be told later by `setPeer`. */
  readonly peers?: ReadonlyMap<NodeId, PeerAddress>
  readonly limits?: Partial<TcpTransportLimits>
}

/** The bounds of a transport. */
export interface TcpTransportLimits {
  /** What waits for one peer; more is dropped and reported. */
  readonly maxQueuedBytes: number
  /** A longer frame ends the connection. */
  readonly maxFrameBytes: number
  readonly maxConnections: number
  /** Connections that have not proved to be a member's; the oldest is closed when there are more. */
  readonly maxPendingConnections: number
  readonly connectTimeoutMs: number
  /** Before a lost connection is made again. */
  readonly reconnectMs: number
  /** A peer that says nothing for so long after it was sent something has lost the connection. */
  readonly silentMsMax: number
}

const MEBIBYTE = 1024 * 1024

/** What production uses. */
export const DEFAULT_TCP_LIMITS: TcpTransportLimits = {
  maxQueuedBytes: 32 * MEBIBYTE,
  maxFrameBytes: 64 * MEBIBYTE,
  maxConnections: 1024,
  // A group has a handful of members, each with two connections.
  maxPendingConnections: 64,
  // A host that is up answers at once.
  connectTimeoutMs: 2000,
  // Shorter than any sensible election time-out, long enough not to spin.
  reconnectMs: 100,
  // TCP itself would try for minutes after a partition has healed.
  silentMsMax: 3000,
}
