import type { Member, RowEntry } from '@waiter/gossip'
import type { GossipMember, GossipMemberStatus } from '../../src/gossip/gossip-member.ts'

const STATUS: GossipMemberStatus = {
  ...{ localHealth: 0, incarnation: 1, suspicions: 0, refutations: 0, probeFailures: 0, queued: 0, viewHash: 1 },
  ...{ rowsHash: 2, rowGaps: 0, rowsRefused: 0, viewMismatches: 0, packetsSent: 3, packetsReceived: 4, bytesSent: 5 },
  ...{ bytesReceived: 6, packetsRefused: { key: 1 }, streams: 0, streamFailures: 0, strangers: 0, loopDelayP99Ms: 1 },
}

/** A place in a group in which the test speaks for the others. */
export class FakeMember implements GossipMember {
  readonly id = 'me'
  readonly address = '127.0.0.1:1'
  readonly rows = new Map<string, Map<string, { value: string; ttlMs: number }>>([['me', new Map()]])
  readonly writes: string[] = []
  seeds: readonly string[] = []
  others: Member[] = []
  entriesMax = Number.POSITIVE_INFINITY
  status: () => GossipMemberStatus = () => STATUS

  members(): readonly Member[] {
    return this.others
  }

  entries(id: string, prefix: string): readonly RowEntry[] {
    return [...(this.rows.get(id) ?? [])]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, { value, ttlMs }]) => ({ key, value, ttlMs }))
  }

  set(key: string, value: string, ttlMs = Number.POSITIVE_INFINITY): boolean {
    const row = this.rows.get('me')!
    if (!row.has(key) && row.size >= this.entriesMax) return false
    if (row.get(key)?.value !== value) this.writes.push(key)
    row.set(key, { value, ttlMs })
    return true
  }

  delete(key: string): void {
    if (this.rows.get('me')!.delete(key)) this.writes.push(`-${key}`)
  }

  setSeeds(seeds: readonly string[]): void {
    this.seeds = seeds
  }

  /** Somebody else's row. */
  says(id: string, row: Readonly<Record<string, [value: string, ttlMs?: number]>>): void {
    const entries = Object.entries(row).map(([key, [value, ttlMs = Number.POSITIVE_INFINITY]]) => {
      return [key, { value, ttlMs }] as const
    })
    this.rows.set(id, new Map(entries))
  }

  /** The keys of the own row. */
  get said(): string[] {
    return [...this.rows.get('me')!.keys()].sort()
  }
}
