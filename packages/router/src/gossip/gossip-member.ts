import type { GossipStatus, Member, MemberId, MemberState, RowEntry } from '@waiter/gossip'

/** What the driver counts beside the machine. */
export interface GossipMemberStatus extends GossipStatus {
  readonly packetsSent: number
  readonly packetsReceived: number
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly packetsRefused: Readonly<Record<string, number>>
  readonly streams: number
  readonly streamFailures: number
  readonly strangers: number
  readonly loopDelayP99Ms: number
}

/** This router's place in the gossip group, once it has one. */
export interface GossipMember {
  readonly id: MemberId
  readonly address: string
  /** Everybody else, the dead too for a while. */
  members(): readonly Member[]
  /** What a member says under keys that begin so; its own as well. */
  entries(id: MemberId, prefix: string): readonly RowEntry[]
  /** False: it exceeds a limit, and was not said. */
  set(key: string, value: string, ttlMs?: number): boolean
  delete(key: string): void
  setSeeds(seeds: readonly string[]): void
  status(): GossipMemberStatus
}

/** Somebody came, went, or is doubted. */
export interface MemberChange {
  readonly id: MemberId
  readonly state: MemberState | 'reaped'
  readonly previous: MemberState | undefined
}
