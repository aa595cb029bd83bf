import type { KeyValueEntry, KeyValueResult } from '../kv/key-value-machine.ts'
import type { LogIndex, NodeId } from '../types.ts'

/** What a client asks of a node. */
export type ClientRequest =
  | { readonly kind: 'read'; readonly key: string }
  | { readonly kind: 'command'; readonly data: Uint8Array }

/** What a node answers; no answer at all is common too. */
export type ClientReply =
  | { readonly kind: 'applied'; readonly result: KeyValueResult; readonly index: LogIndex }
  | { readonly kind: 'value'; readonly entry: KeyValueEntry | undefined; readonly applied: LogIndex }
  /** Nothing happened, or what happened is unknown to this node. */
  | { readonly kind: 'failed'; readonly leader: NodeId }
