import type { Settings } from '../config/schema.ts'
import type { DataPaths } from '../data-directory.ts'
import type { LogTarget } from '../logging.ts'

/** Secrets that all nodes of the cluster share. */
export type ClusterSecrets = readonly [newest: string, ...older: string[]]

/** What every child needs. Sent over IPC, never by command line: a process list is public. */
export interface ChildContext {
  readonly nodeId: string
  readonly settings: Settings
  /** The first makes cookies, proofs and passwords; all are accepted. */
  readonly clusterSecrets: ClusterSecrets
  readonly log: LogTarget
}

/** Where to listen; port 0 lets the system choose. */
export interface Bind {
  readonly host: string
  readonly port: number
}

export interface ControlStart extends ChildContext {
  readonly kind: 'start-control'
  readonly storeDirectory: string
  readonly schedulerDirectory: string
  readonly termFile: string
  readonly bind: Bind
}

export interface RouterStart extends ChildContext {
  readonly kind: 'start-router'
  /** Which of the node's workers, from 1. */
  readonly worker: number
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
  /** gRPC address of the control process. */
  readonly control: string
}

export interface NodeStart extends ChildContext {
  readonly kind: 'start-node'
  readonly data: DataPaths
  /** Where its routers listen. */
  readonly bind: Bind
  /** Router processes that share the port. */
  readonly workers: number
  /** For HTTPS; absent: none. */
  readonly securePort?: number | undefined
  /** gRPC address of the control process to follow; absent: this node has one of its own. */
  readonly control?: string
}

export type StartMessage = ControlStart | RouterStart | NodeStart

export interface StopMessage {
  readonly kind: 'stop'
  /** How long what runs may take to finish. */
  readonly graceMs: number
}

/** Parent to child. */
export type ToChild = StartMessage | StopMessage

/** Where a child serves: a URL or `host:port`. */
export interface ChildAddresses {
  readonly address: string
  /** URL of HTTPS, if it serves that. */
  readonly secureAddress?: string | undefined
}

/** Child to parent. */
export type FromChild =
  | ({ readonly kind: 'ready' } & ChildAddresses)
  | { readonly kind: 'failed'; readonly code: string; readonly message: string }
