import type { MemberAddress } from '@waiter/control'
import type { Settings } from '../config/schema.ts'
import type { LogTarget } from '../logging.ts'

/** Secrets that all nodes of the cluster share. */
export type ClusterSecrets = readonly [newest: string, ...older: string[]]

/** The host: one data directory, and what one launcher runs. */
export interface HostContext {
  /** For ever. */
  readonly hostId: string
  /** Names this start: routers of earlier ones are gone. */
  readonly startId: string
  /** Where nodes are listened to; what others are told to call. Loopback unless other hosts are to reach this one. */
  readonly listen: string
  readonly advertise: string
}

/** What every child needs. Sent over IPC, never by command line: a process list is public. */
export interface ChildContext {
  readonly nodeId: string
  readonly host: HostContext
  readonly settings: Settings
  /** The first makes cookies, proofs and passwords; all are accepted. */
  readonly clusterSecrets: ClusterSecrets
  readonly log: LogTarget
}

/** Where to listen; port 0 lets the system choose. */
export interface Bind {
  readonly host: string
  readonly port: number
  /** No other port will do: somebody was told of it. */
  readonly isFixed?: boolean
}

/** Which member of which group a control process is. */
export interface RaftStart {
  /** Never used again for another member. */
  readonly id: number
  readonly group: string
  /** Its log; belongs to it alone. */
  readonly directory: string
  readonly firstMembers: readonly number[]
  readonly firstTerm: number
  /** What the founders begin with; absent: nothing. */
  readonly firstStateFile?: string | undefined
  /** No id from here on was ever given to a member, as far as this host knows. */
  readonly nextId: number
}

export interface ControlStart extends ChildContext {
  readonly kind: 'start-control'
  readonly raft: RaftStart
  /** Where this member was before, and where others were. */
  readonly known: readonly ControlMember[]
  readonly schedulerDirectory: string
  /** Where routers and other nodes call it. */
  readonly bind: Bind
  /** Where other members reach its log. */
  readonly raftBind: Bind
}

export interface RouterStart extends ChildContext {
  readonly kind: 'start-router'
  /** Which of the node's workers, from 1. */
  readonly worker: number
  /** How many the node has. */
  readonly workers: number
  readonly bind: Bind & {
    /** Other workers listen on the same port. */
    readonly isShared: boolean
  }
  readonly tls:
    | {
        readonly port: number
        /** Base64; what all workers of the node seal session tickets with. */
        readonly ticketSecret: string
      }
    | undefined
  /** Where its request log goes; no other router writes there. */
  readonly requestLogFile: string
  /** The control nodes, as of now. */
  readonly controls: readonly ControlMember[]
  /** Where other routers reach this one to borrow slots. */
  readonly peerBind: Bind
  /** Where it gossips, by UDP and TCP. */
  readonly gossipBind: Bind
}

export type StartMessage = ControlStart | RouterStart

export interface StopMessage {
  readonly kind: 'stop'
  /** How long what runs may take to finish. */
  readonly graceMs: number
  /** To a control process: no other one runs, and what it started goes with it. */
  readonly stopsInstances: boolean
}

/** A control process that runs, and where. All addresses are `host:port`. */
export type ControlMember = MemberAddress

/** Who the control processes are: again whenever one has another address, or they are others. */
export interface MembersMessage {
  readonly kind: 'members'
  readonly members: readonly ControlMember[]
}

/** Where the other workers of a router's node are asked what they measured: again whenever one has another address. */
export interface SiblingsMessage {
  readonly kind: 'siblings'
  /** `host:port` of each. */
  readonly addresses: readonly string[]
}

/** To a router: take no more than must be; to a control process: this host is to be left. Or not any more. */
export interface DrainMessage {
  readonly kind: 'drain'
  readonly drains: boolean
}

/** To a router: another one of this host has ended. Its leader need not wait for that one. */
export interface RouterEndedMessage {
  readonly kind: 'router-ended'
  readonly routerId: string
}

/** News of others, while a child runs. */
export type NewsForChild = MembersMessage | SiblingsMessage | DrainMessage | RouterEndedMessage

/** Parent to child. */
export type ToChild = StartMessage | StopMessage | NewsForChild

/** Where a child serves: a URL or `host:port`. */
export interface ChildAddresses {
  readonly address: string
  /** URL of HTTPS, if it serves that. */
  readonly secureAddress?: string | undefined
  /** Of a control process: where other members reach its log, and since when it is there. */
  readonly raftAddress?: string | undefined
  readonly sinceMs?: number | undefined
  /** Of a router: where other routers reach it. */
  readonly peerAddress?: string | undefined
  /** Of a router: its name for as long as it lives. */
  readonly routerId?: string | undefined
}

/** What a child tells while it runs. */
export type ChildNews =
  /** It serves as the leader, or does not any more. */
  | { readonly kind: 'leadership'; readonly leads: boolean }
  /** Another host's control node leads. */
  | { readonly kind: 'led-elsewhere' }
  /** A router drains, on whoever's behalf, or not any more. */
  | { readonly kind: 'drains'; readonly drains: boolean }
  /** What this host runs need not be waited for any longer. */
  | { readonly kind: 'departed'; readonly why: string }
  /** The group has let this member go, for good. */
  | { readonly kind: 'removed' }
  /** Where all control nodes are; of a later version counts more. */
  | { readonly kind: 'controls'; readonly members: readonly ControlMember[]; readonly version: number }

/** Child to parent. */
export type FromChild =
  | ({ readonly kind: 'ready' } & ChildAddresses)
  | { readonly kind: 'failed'; readonly code: string; readonly message: string }
  | ChildNews
