/**
 * Gossip: who is there (SWIM with Lifeguard), and what each sees right now (one row per member, written by its owner
 * alone). It never decides anything: a wrong or slow view makes routing less even, never unsafe.
 * Pure: time, chance, packets and streams are the caller's. `@waiter/gossip/node` is a caller with UDP and TLS.
 */
export { Gossip, type GossipOptions, type GossipStatus } from './gossip.ts'
export type { Address, Claim, Member, MemberId, MemberState } from './member.ts'
export type { Effect, Packet, StreamMessage } from './message.ts'
export { encodePacket, parsePacket } from './packet-codec.ts'
export { isAddress, isMemberId, MalformedMessage } from './parse.ts'
export type { RowEntry } from './rows/row-types.ts'
export { DEFAULT_SETTINGS, type GossipSettings } from './settings.ts'
export { encodeStreamMessage, parseStreamMessage } from './stream-codec.ts'
