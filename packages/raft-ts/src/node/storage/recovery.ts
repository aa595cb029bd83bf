import { WaiterError } from '@waiter/base'
import {
  ByteReader,
  EMPTY_HARD_STATE,
  type Entry,
  type HardState,
  type LogIndex,
  MalformedBytes,
  type Snapshot,
} from '../../index.ts'
import { decodeSnapshot, readEntry, readHardState } from './codec.ts'
import type { LogFolder } from './file-system.ts'
import type { DurableState } from './log-storage.ts'
import { parseRecords } from './records.ts'

/** A segment that is kept, and how far its entries reach: it may go when all of them are in a snapshot. */
export interface KnownSegment {
  readonly sequence: number
  readonly lastIndex: LogIndex
}

/** What a folder held. */
export interface Recovered extends DurableState {
  readonly segments: readonly KnownSegment[]
}

/** Of the entry before the oldest segment: it was in a deleted one. Only entries that a snapshot contains are deleted. */
const UNKNOWN_TERM = 0
const HAS_HARD_STATE = 1
const HAS_SNAPSHOT = 2

/** Flags of a batch record. */
export const BATCH_FLAGS: { readonly hardState: number; readonly snapshot: number } = {
  hardState: HAS_HARD_STATE,
  snapshot: HAS_SNAPSHOT,
}

/** `wal-0000000000000001.log` */
export function segmentName(sequence: number): string {
  return `wal-${String(sequence).padStart(16, '0')}.log`
}

/** `snap-0000000000000042.bin`, by index. */
export function snapshotName(index: LogIndex): string {
  return `snap-${String(index).padStart(16, '0')}.bin`
}

/**
 * Reads what a folder holds and repairs an unfinished last write.
 *
 * @throws {WaiterError} `RAFT_STORAGE_CORRUPT` when something that was durable is damaged: nothing is changed then
 */
export async function recover(folder: LogFolder): Promise<Recovered> {
  const names = [...(await folder.list())].sort()
  for (const name of names) if (name.endsWith('.tmp')) await folder.remove(name)
  const snapshot = await readNewestSnapshot(folder, names)
  const replay = new Replay(snapshot)
  const segments: KnownSegment[] = []
  const sequences = names.flatMap(name => (/^wal-(\d{16})\.log$/.exec(name) ? [Number(name.slice(4, 20))] : []))
  for (const [at, sequence] of sequences.entries()) {
    if (at > 0 && sequence !== sequences[at - 1]! + 1) throw corrupt(`segment ${segmentName(sequence - 1)} is missing`)
    const isLast = at === sequences.length - 1
    await readSegment(folder, { sequence, isLast, replay })
    segments.push({ sequence, lastIndex: replay.lastIndex })
  }
  return { ...replay.finish(), segments }
}

async function readSegment(
  folder: LogFolder,
  segment: { readonly sequence: number; readonly isLast: boolean; readonly replay: Replay },
): Promise<void> {
  const name = segmentName(segment.sequence)
  const { payloads, validBytes, end } = parseRecords(await folder.read(name))
  if (end === 'corrupt') throw corrupt(`${name} is damaged at byte ${validBytes}, and whole records follow`)
  // A segment is only begun after the last write to the one before it is durable.
  if (end === 'torn' && !segment.isLast)
    throw corrupt(`${name} is damaged at byte ${validBytes}, and another segment follows`)
  for (const payload of payloads) segment.replay.apply(payload, name)
  if (end === 'torn') await folder.truncate(name, validBytes)
}

async function readNewestSnapshot(folder: LogFolder, names: readonly string[]): Promise<Snapshot | undefined> {
  const name = names.filter(candidate => /^snap-\d{16}\.bin$/.test(candidate)).at(-1)
  if (name === undefined) return undefined
  const { payloads, end } = parseRecords(await folder.read(name))
  const [payload] = payloads
  // It was synced before it got this name.
  if (payload === undefined || payloads.length !== 1 || end !== 'clean') throw corrupt(`snapshot ${name} is damaged`)
  return decodeSnapshot(payload)
}

/** Applies batches in order, as they were written. */
class Replay {
  readonly #newest: Snapshot | undefined
  #hardState: HardState = EMPTY_HARD_STATE
  /** The entry before the first. */
  #before = { index: 0, term: UNKNOWN_TERM }
  #entries: Entry[] = []

  constructor(newest: Snapshot | undefined) {
    this.#newest = newest
  }

  get lastIndex(): LogIndex {
    return this.#before.index + this.#entries.length
  }

  apply(payload: Uint8Array, name: string): void {
    try {
      const reader = new ByteReader(payload)
      const flags = reader.varint()
      if ((flags & HAS_HARD_STATE) !== 0) this.#hardState = readHardState(reader)
      if ((flags & HAS_SNAPSHOT) !== 0) {
        this.#before = { index: reader.varint(), term: reader.varint() }
        this.#entries = []
      }
      for (let left = reader.varint(); left > 0; left--) this.#add(readEntry(reader), name)
    } catch (error) {
      if (!(error instanceof MalformedBytes)) throw error
      throw corrupt(`${name} holds a record that cannot be read: ${error.message}`)
    }
  }

  finish(): DurableState {
    const snapshot = this.#newest
    if (snapshot === undefined) {
      if (this.#before.index > 0) throw corrupt(`the snapshot at ${this.#before.index} is missing`)
      return this.#checked(this.#entries, undefined)
    }
    if (snapshot.index < this.#before.index) throw corrupt(`the snapshot at ${this.#before.index} is missing`)
    const term = this.#term(snapshot.index)
    const isInLog = term === snapshot.term || term === UNKNOWN_TERM
    // A snapshot that the log does not lead to was being installed: it replaces the log, as it would have (rule D4).
    const entries = isInLog ? this.#entries.filter(entry => entry.index > snapshot.index) : []
    if (snapshot.term > this.#hardState.term) this.#hardState = { term: snapshot.term, vote: 0, commit: snapshot.index }
    return this.#checked(entries, snapshot)
  }

  #term(index: LogIndex): number | undefined {
    if (index === this.#before.index) return this.#before.term
    return this.#entries[index - this.#before.index - 1]?.term
  }

  #add(entry: Entry, name: string): void {
    // The oldest segment that is left may start anywhere, even below what a deleted one ended with: all that came before
    // is in a snapshot, or `finish` finds a gap.
    const isStart = this.#entries.length === 0 && this.#before.index === 0
    if (isStart || entry.index <= this.#before.index) {
      this.#before = { index: entry.index - 1, term: UNKNOWN_TERM }
      this.#entries = []
    }
    if (entry.index > this.lastIndex + 1) throw corrupt(`${name} holds entry ${entry.index} after ${this.lastIndex}`)
    this.#entries.length = entry.index - this.#before.index - 1
    this.#entries.push(entry)
  }

  #checked(entries: readonly Entry[], snapshot: Snapshot | undefined): DurableState {
    const first = entries[0]
    const start = (snapshot?.index ?? 0) + 1
    if (first !== undefined && first.index !== start) throw corrupt(`entries ${start}..${first.index - 1} are missing`)
    const lastIndex = entries.at(-1)?.index ?? start - 1
    const { commit } = this.#hardState
    if (commit > lastIndex) throw corrupt(`entries up to ${commit} were committed, the log ends at ${lastIndex}`)
    const hardState = { ...this.#hardState, commit: Math.max(commit, start - 1) }
    return { hardState, snapshot, entries }
  }
}

function corrupt(what: string): WaiterError {
  const mend = 'Do not repair it by hand: remove this node from the group and let it join again, empty, under a new id.'
  return new WaiterError(`The Raft log is damaged: ${what}. ${mend}`, { code: 'RAFT_STORAGE_CORRUPT' })
}
