import { join } from 'node:path'
import { assert, type Logger } from '@waiter/base'
import {
  ByteReader,
  type Entry,
  type EntryId,
  type HardState,
  type LogIndex,
  MalformedBytes,
  NONE,
} from '../../index.ts'
import { logCorrupt, logTooShort } from '../errors.ts'
import type { SnapshotId } from '../log-storage.ts'
import type { FileSystem } from './file-system.ts'
import {
  decodeEntry,
  decodeSegmentHead,
  decodeState,
  LOG_FORMAT,
  type RawRecord,
  RECORD,
  RECORD_HEAD_BYTES,
  readRecord,
  type SegmentHead,
} from './records.ts'
import { openSnapshotFile, parseSnapshotName } from './snapshot-file.ts'

const SEGMENT_NAME = /^([0-9]{16})\.wal$/

/** A state record's payload is a few varints; looking for one need not look at longer ones. */
const STATE_BYTES_MAX = 64

/** The name of a segment; sorts by sequence. */
export function segmentName(sequence: number): string {
  return `${String(sequence).padStart(16, '0')}.wal`
}

/** One file of the log. */
export interface Segment {
  readonly sequence: number
  readonly salt: number
  /** The highest entry in it that may still matter; 0: none. */
  lastIndex: LogIndex
}

/** What the disk says. */
export interface Recovered {
  readonly hardState: HardState
  readonly snapshot: SnapshotId | undefined
  /** Right after the snapshot, without gaps. */
  readonly entries: readonly Entry[]
  /** In order; the last one is written on. */
  readonly segments: readonly Segment[]
  /** Sound bytes of the last segment. */
  readonly lastSegmentBytes: number
  /** The last segment is longer than that: cut it. */
  readonly isTorn: boolean
  /** The log goes on from somewhere else than the snapshot: say so in the log before anything is added to it. */
  readonly needsInstallRecord: boolean
  /** Files nobody needs: temporary ones and older snapshots. */
  readonly leftovers: readonly string[]
}

/**
 * Reads everything there is and says what it means. Changes nothing.
 *
 * An unsound end of the last segment is a batch that was being written when the process or the power went: nobody was
 * promised anything of it, and it is cut off. It is damage when a later batch says that these bytes were durable, or
 * when what remains does not reach the commit index.
 *
 * @throws {RaftNodeError} `RAFT_LOG_CORRUPT`
 */
export async function recover(fileSystem: FileSystem, directory: string, log: Logger): Promise<Recovered> {
  const names = await fileSystem.list(directory)
  const sequences = names.flatMap(name => SEGMENT_NAME.exec(name)?.[1] ?? []).map(Number)
  sequences.sort((a, b) => a - b)
  const snapshotIds = names.flatMap(name => parseSnapshotName(name) ?? [])
  snapshotIds.sort((a, b) => a.index - b.index || a.term - b.term)
  const replay = new Replay(directory)
  for (const [at, sequence] of sequences.entries()) {
    if (at > 0 && sequence !== sequences[at - 1]! + 1) throw missingSegment(directory, sequences[at - 1]!)
    const path = join(directory, segmentName(sequence))
    const file = await readWhole(fileSystem, path)
    replay.readSegment({ path, file, sequence, isLast: at === sequences.length - 1 })
  }
  if (replay.isTorn) {
    const file = join(directory, segmentName(sequences.at(-1)!))
    const where = { file, offset: replay.soundBytes, droppedBytes: replay.fileBytes - replay.soundBytes }
    log.warn(where, 'cut off an unfinished write at the end of the raft log; nobody was promised it')
  }
  const snapshot = await readNewestSnapshot(fileSystem, directory, snapshotIds)
  const older = snapshotIds.slice(0, -1).map(id => names.find(name => isNamed(name, id))!)
  const temporary = names.filter(name => name.endsWith('.tmp'))
  return { ...replay.finish(snapshot), leftovers: [...older, ...temporary] }
}

async function readWhole(fileSystem: FileSystem, path: string): Promise<Buffer> {
  const file = await fileSystem.openRead(path)
  assert(file !== undefined, `${path} was listed and is gone: does another process use this directory?`)
  try {
    return await file.read(0, file.bytes)
  } finally {
    await file.close()
  }
}

async function readNewestSnapshot(
  fileSystem: FileSystem,
  directory: string,
  ids: readonly EntryId[],
): Promise<SnapshotId | undefined> {
  const newest = ids.at(-1)
  if (newest === undefined) return undefined
  const source = await openSnapshotFile(fileSystem, directory, newest)
  assert(
    source !== undefined,
    `snapshot ${newest.index} was listed and is gone: does another process use this directory?`,
  )
  await source.close()
  return source.id
}

interface SegmentFile {
  readonly path: string
  readonly file: Buffer
  readonly sequence: number
  readonly isLast: boolean
}

/** Carries out the records in order. */
class Replay {
  readonly #directory: string
  readonly #segments: Segment[] = []
  #hardState: HardState = { term: 0, vote: NONE, commit: 0 }
  /** Without gaps, from wherever the oldest segment begins. */
  #entries: Entry[] = []
  /** The newest snapshot the log says was installed. */
  #installed: EntryId = { index: 0, term: 0 }
  soundBytes = 0
  fileBytes = 0
  isTorn = false

  constructor(directory: string) {
    this.#directory = directory
  }

  readSegment({ path, file, sequence, isLast }: SegmentFile): void {
    const head = readHead(path, file, sequence)
    this.#hardState = { term: head.value.term, vote: head.value.vote, commit: head.value.commit }
    const segment: Segment = { sequence, salt: head.value.salt, lastIndex: 0 }
    this.#segments.push(segment)
    let at = head.end
    while (at < file.length) {
      const record = readRecord(file, at, segment.salt)
      if (record === undefined) break
      this.#carryOut(record, { path, at, segment })
      at = record.end
    }
    this.soundBytes = at
    this.fileBytes = file.length
    if (at === file.length) return
    this.#judgeDamage({ path, file, sequence, isLast }, { at, salt: segment.salt })
    this.isTorn = true
  }

  finish(snapshot: SnapshotId | undefined): Omit<Recovered, 'leftovers'> {
    const directory = this.#directory
    const base = snapshot ?? { index: 0, term: 0 }
    if (this.#installed.index > base.index) {
      const missing = this.#installed.index
      throw logCorrupt({ file: directory, offset: 0 }, `the snapshot at entry ${missing} was durable and is missing.`)
    }
    const needsInstallRecord = !this.#goesOnFrom(base)
    const entries = needsInstallRecord ? [] : this.#entriesAfter(base)
    const lastIndex = base.index + entries.length
    const { term, vote, commit } = this.#hardState
    if (commit > lastIndex) throw logTooShort(directory, { commit, lastIndex })
    // A snapshot is proof of its term and of what it holds, even when the record that names it was not written.
    const isSnapshotNewer = base.term > term
    const hardState = {
      term: isSnapshotNewer ? base.term : term,
      vote: isSnapshotNewer ? NONE : vote,
      commit: Math.max(commit, base.index),
    }
    const { soundBytes, isTorn } = this
    const segments = this.#segments
    return { hardState, snapshot, entries, segments, lastSegmentBytes: soundBytes, isTorn, needsInstallRecord }
  }

  // Entries after a snapshot count only if the log holds the very entry the snapshot ends with (rules S2, S3, D4).
  // Otherwise a received snapshot became durable just before a crash, and the record that names it did not.
  #goesOnFrom(base: EntryId): boolean {
    const first = this.#entries[0]?.index
    if (first === undefined || base.index < first) return true
    return this.#entries[base.index - first]?.term === base.term
  }

  #entriesAfter(base: EntryId): readonly Entry[] {
    const first = this.#entries[0]?.index
    if (first === undefined) return []
    if (first > base.index + 1) {
      const gap = `entries ${base.index + 1} to ${first - 1} are missing.`
      throw logCorrupt({ file: this.#directory, offset: 0 }, gap)
    }
    return this.#entries.slice(base.index + 1 - first)
  }

  #carryOut(record: RawRecord, where: { path: string; at: number; segment: Segment }): void {
    try {
      if (record.type === RECORD.state) {
        const { term, vote, commit } = decodeState(record.payload)
        this.#hardState = { term, vote, commit }
      } else if (record.type === RECORD.entry) this.#append(decodeEntry(record.payload), where)
      else if (record.type === RECORD.snapshotInstalled) this.#install(record.payload)
      else throw new MalformedBytes(`a record of type ${record.type} does not belong here`)
    } catch (error) {
      if (!(error instanceof MalformedBytes)) throw error
      throw logCorrupt({ file: where.path, offset: where.at }, `${error.message}.`)
    }
  }

  #append(entry: Entry, where: { path: string; at: number; segment: Segment }): void {
    const first = this.#entries[0]?.index ?? entry.index
    const position = entry.index - first
    if (position > this.#entries.length) {
      throw logCorrupt({ file: where.path, offset: where.at }, `entry ${entry.index} follows a gap.`)
    }
    if (position < 0) this.#entries = []
    else if (position < this.#entries.length) this.#entries.length = position
    this.#entries.push(entry)
    where.segment.lastIndex = Math.max(where.segment.lastIndex, entry.index)
  }

  #install(payload: Uint8Array): void {
    const reader = new ByteReader(payload)
    this.#installed = { index: reader.varint(), term: reader.varint() }
    this.#entries = []
    for (const segment of this.#segments) segment.lastIndex = 0
  }

  #judgeDamage({ path, file, isLast }: SegmentFile, { at, salt }: { at: number; salt: number }): void {
    const where = { file: path, offset: at }
    if (!isLast) throw logCorrupt(where, 'a later file was begun when this one was durable.')
    for (let later = at + 1; later + RECORD_HEAD_BYTES <= file.length; later++) {
      if (file[later + 8] !== RECORD.state || file.readUInt32LE(later) > STATE_BYTES_MAX) continue
      const record = readRecord(file, later, salt)
      if (record === undefined || decodeState(record.payload).durableBytes <= at) continue
      throw logCorrupt(where, `the batch at byte ${later} says that these bytes were durable.`)
    }
  }
}

function readHead(path: string, file: Buffer, sequence: number): { value: SegmentHead; end: number } {
  const record = readRecord(file, 0, 0)
  if (record?.type !== RECORD.segmentHead) {
    throw logCorrupt({ file: path, offset: 0 }, 'the head of the file was durable before the file got its name.')
  }
  const value = decodeSegmentHead(record.payload)
  const isKnown = value.format === LOG_FORMAT && value.sequence === sequence
  const what = `format ${value.format}, sequence ${value.sequence}: written by a newer release, or renamed by hand?`
  if (!isKnown) throw logCorrupt({ file: path, offset: 0 }, what)
  return { value, end: record.end }
}

function missingSegment(directory: string, before: number): Error {
  const file = join(directory, segmentName(before + 1))
  return logCorrupt({ file, offset: 0 }, `the file is missing, but later ones are there.`)
}

function isNamed(name: string, id: EntryId): boolean {
  const parsed = parseSnapshotName(name)
  return parsed?.index === id.index && parsed.term === id.term
}
