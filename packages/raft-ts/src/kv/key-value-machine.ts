import { assert } from '@waiter/base'
import { crc32c } from '../crc32c.ts'
import type { LogIndex } from '../types.ts'
import { ByteReader, ByteWriter } from './bytes.ts'
import { decodeCommand, type KeyWrite, type SessionId, type WriteAllCommand, type WriteCommand } from './command.ts'
import { type ChangesSince, type KeyValueChange, RecentChanges } from './recent-changes.ts'
import { type RememberedResult, type SessionFault, SessionTable } from './session-table.ts'

/** A value with the version of the write that made it. */
export interface KeyValueEntry {
  readonly key: string
  readonly value: string
  readonly version: number
}

/** What a command came to; equal on every node. */
export type KeyValueResult =
  | { readonly kind: 'opened'; readonly session: SessionId }
  | { readonly kind: 'closed' }
  | { readonly kind: 'written'; readonly version: number }
  /** The key had another version; nothing was changed. */
  | { readonly kind: 'conflict'; readonly current: KeyValueEntry | undefined }
  | { readonly kind: 'refused'; readonly reason: SessionFault }
  /** The empty entry of a new leader. */
  | { readonly kind: 'nothing' }

/** A result with the change it made, if any. */
export interface Applied {
  readonly result: KeyValueResult
  readonly change: KeyValueChange | undefined
  /** All of them, of a command that writes several keys. */
  readonly changes?: readonly KeyValueChange[]
}

/** Bounds of the replicated state. The first two decide results: they must be equal on all nodes. */
export interface KeyValueLimits {
  readonly maxSessions: number
  readonly maxResultsPerSession: number
  /** Changes kept for watchers that are behind. */
  readonly maxRecentChanges: number
}

/** What production uses. */
export const DEFAULT_KEY_VALUE_LIMITS: KeyValueLimits = {
  maxSessions: 4096,
  maxResultsPerSession: 1024,
  maxRecentChanges: 8192,
}

/** How the machine is made; `remembersWrites` is false only in the test that proves sessions to be needed. */
export interface KeyValueOptions {
  readonly limits?: Partial<KeyValueLimits>
  readonly remembersWrites?: boolean
}

const SNAPSHOT_FORMAT = 1

/**
 * The replicated map: keys to texts, each with the version of its last write (rules K1–K9). Deterministic: nodes that
 * apply the same entries hold the same state. The applied index is part of the state, so that one atomic write (or one
 * snapshot) stores both; an entry that is applied already is skipped.
 */
export class KeyValueMachine {
  readonly #limits: KeyValueLimits
  readonly #remembersWrites: boolean
  readonly #entries = new Map<string, KeyValueEntry>()
  readonly #sessions: SessionTable
  #changes: RecentChanges
  /** Keys in order; rebuilt when listed after keys came or went. */
  #sortedKeys: string[] | undefined = []
  #applied: LogIndex = 0
  #version = 0
  #digest = 0

  constructor(options: KeyValueOptions = {}) {
    this.#limits = { ...DEFAULT_KEY_VALUE_LIMITS, ...options.limits }
    this.#remembersWrites = options.remembersWrites ?? true
    this.#sessions = new SessionTable(this.#limits)
    this.#changes = new RecentChanges(this.#limits.maxRecentChanges, 0)
  }

  /** The last log index this state contains. */
  get applied(): LogIndex {
    return this.#applied
  }

  /** Grows by one with every write; never reused. */
  get version(): number {
    return this.#version
  }

  /** A checksum of everything applied so far: nodes with equal `applied` must have equal digests. */
  get digest(): number {
    return this.#digest
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: string): KeyValueEntry | undefined {
    return this.#entries.get(key)
  }

  /** Entries whose keys start with `prefix`, in order of UTF-16 code units. */
  list(prefix: string): readonly KeyValueEntry[] {
    this.#sortedKeys ??= [...this.#entries.keys()].sort()
    const keys = this.#sortedKeys
    let from = 0
    let to = keys.length
    while (from < to) {
      const middle = (from + to) >> 1
      if (keys[middle]! < prefix) from = middle + 1
      else to = middle
    }
    const found: KeyValueEntry[] = []
    for (let at = from; at < keys.length && keys[at]!.startsWith(prefix); at++)
      found.push(this.#entries.get(keys[at]!)!)
    return found
  }

  /** What changed below a prefix after `version`, for a watcher; at most `limit` changes at a time. */
  changesSince(version: number, options: { readonly prefix: string; readonly limit: number }): ChangesSince {
    return this.#changes.since(version, { ...options, now: this.#version })
  }

  /** Applies the entry at `index`; undefined when this state contains it already. Entries come without gaps. */
  apply(index: LogIndex, data: Uint8Array): Applied | undefined {
    if (index <= this.#applied) return undefined
    assert(index === this.#applied + 1, `entry ${index} applied after ${this.#applied}`)
    this.#applied = index
    const applied: Applied = data.length === 0 ? NOTHING : this.#applyCommand(index, data)
    this.#digest = crc32c(data, this.#digest ^ (index + this.#version))
    return applied
  }

  /** An entry that is not for this machine, like a membership change, moves only the applied index. */
  skip(index: LogIndex): void {
    if (index > this.#applied) this.apply(index, EMPTY)
  }

  /**
   * Begins with entries from elsewhere instead of empty (rule K9): before anything is applied, and the same on every first
   * member of a group.
   */
  seed(entries: Iterable<KeyValueEntry>, version: number): void {
    assert(this.#applied === 0 && this.#entries.size === 0, 'only a machine that has applied nothing can be seeded')
    for (const entry of entries) {
      assert(entry.version <= version, `an entry of version ${entry.version} in a state of version ${version}`)
      this.#entries.set(entry.key, { key: entry.key, value: entry.value, version: entry.version })
    }
    this.#version = version
    this.#sortedKeys = undefined
    this.#changes = new RecentChanges(this.#limits.maxRecentChanges, version)
  }

  /** The whole state as bytes (rule K8). See `snapshot-stream.ts` for sending it in pieces. */
  encode(): Uint8Array {
    const writer = new ByteWriter(4096)
    writer.varint(SNAPSHOT_FORMAT).varint(this.#applied).varint(this.#version).varint(this.#digest)
    writer.varint(this.#entries.size)
    for (const { key, value, version } of this.#entries.values()) writer.text(key).text(value).varint(version)
    this.#sessions.encode(writer)
    return writer.finish()
  }

  /**
   * Replaces the whole state by an encoded one. Watchers that were behind find themselves lagged.
   *
   * @throws {MalformedBytes} when the bytes are damaged; the machine must not be used then
   */
  restore(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes)
    const format = reader.varint()
    assert(format === SNAPSHOT_FORMAT, `snapshot format ${format} is not known: was it written by a newer release?`)
    this.#applied = reader.varint()
    this.#version = reader.varint()
    this.#digest = reader.varint()
    this.#entries.clear()
    for (let left = reader.varint(); left > 0; left--) {
      const key = reader.text()
      this.#entries.set(key, { key, value: reader.text(), version: reader.varint() })
    }
    this.#sessions.decode(reader)
    assert(reader.isAtEnd, 'bytes left over after a snapshot')
    this.#sortedKeys = undefined
    this.#changes = new RecentChanges(this.#limits.maxRecentChanges, this.#version)
  }

  #applyCommand(index: LogIndex, data: Uint8Array): Applied {
    const command = decodeCommand(data)
    if (command.kind === 'openSession') return unchanged({ kind: 'opened', session: this.#sessions.open(index) })
    if (command.kind === 'closeSession') {
      this.#sessions.close(command.session)
      return unchanged({ kind: 'closed' })
    }
    if (command.session === 0 || !this.#remembersWrites) return this.#write(command)
    const admission = this.#sessions.admit(command.session, command.sequence, { ...command, index })
    if (admission.kind === 'refused') return unchanged(admission)
    if (admission.kind !== 'apply') return unchanged(this.#answerAgain(command, admission))
    const applied = this.#write(command)
    const { result } = applied
    const remembered: RememberedResult = result.kind === 'written' ? result : { kind: 'conflict' }
    this.#sessions.remember(command.session, command.sequence, remembered)
    return applied
  }

  #answerAgain(command: WriteCommand | WriteAllCommand, remembered: RememberedResult): KeyValueResult {
    if (remembered.kind === 'written') return remembered
    const key = command.kind === 'write' ? command.key : (command.writes.find(write => !this.#fits(write))?.key ?? '')
    return { kind: 'conflict', current: this.#entries.get(key) }
  }

  #write(command: WriteCommand | WriteAllCommand): Applied {
    const writes = command.kind === 'write' ? [command] : command.writes
    const misfit = writes.find(write => !this.#fits(write))
    if (misfit !== undefined) return unchanged({ kind: 'conflict', current: this.#entries.get(misfit.key) })
    const changes = writes.map(write => this.#put(write))
    const result: KeyValueResult = { kind: 'written', version: this.#version }
    return command.kind === 'write' ? { result, change: changes[0] } : { result, change: undefined, changes }
  }

  #fits({ key, expected }: KeyWrite): boolean {
    return expected === undefined || expected === (this.#entries.get(key)?.version ?? 0)
  }

  #put({ key, value }: KeyWrite): KeyValueChange {
    const current = this.#entries.get(key)
    const version = ++this.#version
    const change: KeyValueChange =
      value === undefined ? { kind: 'delete', key, version } : { kind: 'put', key, value, version }
    // A key came or went: a put where nothing was, a delete where something was.
    if ((value === undefined) !== (current === undefined)) this.#sortedKeys = undefined
    if (value === undefined) this.#entries.delete(key)
    else this.#entries.set(key, { key, value, version })
    this.#changes.add(change)
    return change
  }
}

const EMPTY = new Uint8Array(0)
const NOTHING: Applied = { result: { kind: 'nothing' }, change: undefined }

function unchanged(result: KeyValueResult): Applied {
  return { result, change: undefined }
}
