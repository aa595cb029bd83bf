import type { Address, Claim, MemberId } from './member.ts'
import type { Digest, RowDelta } from './rows/row-types.ts'

interface PacketBase {
  readonly from: MemberId
  readonly claims: readonly Claim[]
}

/** What travels by UDP. Every packet carries claims in the room that is left. */
export type Packet =
  /** `to` names whom it is for: another process behind a reused address does not answer (P5). */
  | (PacketBase & { readonly kind: 'ping'; readonly sequence: number; readonly to: MemberId; readonly view: number })
  | (PacketBase & { readonly kind: 'ack'; readonly sequence: number; readonly view: number })
  | (PacketBase & { readonly kind: 'nack'; readonly sequence: number })
  | (PacketBase & {
      readonly kind: 'pingReq'
      readonly sequence: number
      readonly to: MemberId
      readonly address: Address
    })
  | (PacketBase & { readonly kind: 'gossip' })

/** What travels by stream. Replies go back on the stream that the message came by. */
export type StreamMessage =
  /** All one knows of the members, and how far one knows each row. */
  | {
      readonly kind: 'sync'
      readonly from: MemberId
      readonly isReply: boolean
      readonly claims: readonly Claim[]
      readonly digest: Digest
    }
  | { readonly kind: 'rows'; readonly from: MemberId; readonly rows: readonly RowDelta[] }
  /** A delta did not connect: these are the rows wanted, and how far each is known. */
  | { readonly kind: 'want'; readonly from: MemberId; readonly digest: Digest }
  | { readonly kind: 'ping'; readonly from: MemberId; readonly to: MemberId; readonly sequence: number }
  | { readonly kind: 'pong'; readonly from: MemberId; readonly sequence: number }

/** What the driver has to do, in this order. */
export type Effect =
  | { readonly kind: 'packet'; readonly to: Address; readonly packet: Packet }
  | { readonly kind: 'stream'; readonly to: Address; readonly message: StreamMessage }
  /** Somebody appeared, changed its state, or was forgotten (`reaped`). */
  | {
      readonly kind: 'member'
      readonly id: MemberId
      readonly state: Claim['state'] | 'reaped'
      readonly previous: Claim['state'] | undefined
    }
  /** Somebody else's row says something new. */
  | { readonly kind: 'row'; readonly id: MemberId }
  /** Somebody else speaks in this member's name, or an earlier life of it is still remembered. */
  | { readonly kind: 'nameTaken'; readonly address: Address }
  /** The others have been told; the process may end. */
  | { readonly kind: 'hasLeft' }
