import type { Logger } from '@waiter/base'
import type { MemberAddress } from '@waiter/control'
import type { Change, KeyValueStore, Version } from '@waiter/store'
import { z } from 'zod'

/** Where the store keeps who the control nodes are: one record for each, under its id. */
export const MEMBER_PREFIX = 'members/'
/** The id that the next control node gets. */
export const NEXT_ID_KEY = 'next-member-id'
/** A lost watch is opened anew after this. */
const RETRY_MS = 200

const memberRecord = z.object({
  node: z.string(),
  host: z.string(),
  /** Empty until it has told. */
  grpc: z.string(),
  raft: z.string(),
  'since-ms': z.number(),
  release: z.string(),
  /** `joining`: has an id, and is to be taken in; `member`: belongs to the group; `leaving`: is to be let go. */
  state: z.enum(['joining', 'member', 'leaving']),
  /** It leaves whatever becomes of it: nothing waits for it, or for somebody in its place. */
  'is-forced': z.boolean(),
})

/** A control node as the store knows it. */
export type MemberRecord = z.infer<typeof memberRecord>

/** A record with what it takes to replace it. */
export interface StoredRecord {
  readonly id: number
  readonly version: Version
  readonly record: MemberRecord
}

export function keyOfMember(id: number): string {
  return `${MEMBER_PREFIX}${id}`
}

export function toAddress({ id, record }: StoredRecord): MemberAddress {
  const { node: nodeId, host: hostId, grpc, raft, 'since-ms': sinceMs } = record
  return { id, nodeId, hostId, grpc, raft, sinceMs }
}

/**
 * What this control node's copy of the store says of the members, a moment behind. Kept over the time without a leader;
 * `version` tells which of two copies is the later one.
 */
export class MemberRecords {
  readonly #store: KeyValueStore
  readonly #log: Logger
  readonly #stopped = new AbortController()
  readonly #onChange: () => void
  #records = new Map<number, StoredRecord>()
  #version: Version = 0
  #isSynced = false

  constructor(store: KeyValueStore, onChange: () => void, log: Logger) {
    this.#store = store
    this.#onChange = onChange
    this.#log = log
  }

  /** Everything that the store held has been read once. */
  get isSynced(): boolean {
    return this.#isSynced
  }

  /** As of which version of the store; 0: no record was ever read. */
  get version(): Version {
    return this.#version
  }

  get all(): readonly StoredRecord[] {
    return [...this.#records.values()].sort((a, b) => a.id - b.id)
  }

  get(id: number): StoredRecord | undefined {
    return this.#records.get(id)
  }

  ofNode(nodeId: string): StoredRecord | undefined {
    return this.all.find(({ record }) => record.node === nodeId)
  }

  /** Follows the store until `stop`. */
  async run(): Promise<void> {
    const { signal } = this.#stopped
    while (!signal.aborted) {
      try {
        await this.#follow(signal)
      } catch (error) {
        this.#log.info({ err: error }, 'lost the watch of the members; what is known goes on being used')
      }
      if (!signal.aborted) await new Promise<void>(resolve => setTimeout(resolve, RETRY_MS))
    }
  }

  stop(): void {
    this.#stopped.abort()
  }

  async #follow(signal: AbortSignal): Promise<void> {
    let isSynced = false
    let found = new Map<number, StoredRecord>()
    for await (const change of this.#store.watch(MEMBER_PREFIX, signal)) {
      const version = this.#take(found, change)
      if (change.kind === 'synced') {
        isSynced = true
        this.#isSynced = true
        this.#records = found
      }
      if (!isSynced) continue
      found = this.#records
      this.#version = Math.max(this.#version, version)
      this.#onChange()
    }
  }

  #take(into: Map<number, StoredRecord>, change: Change): Version {
    if (change.kind === 'synced') return change.version
    const { key, version } = change.kind === 'put' ? change.entry : change
    const id = Number(key.slice(MEMBER_PREFIX.length))
    if (change.kind === 'delete') into.delete(id)
    else {
      const record = parseRecord(change.entry.value)
      if (record === undefined)
        this.#log.warn({ key }, 'a record of a member cannot be read; a newer release wrote it?')
      else into.set(id, { id, version, record })
    }
    return version
  }
}

/** Undefined for what no release so far has written. */
function parseRecord(text: string): MemberRecord | undefined {
  try {
    return memberRecord.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}
