import { join } from 'node:path'
import type { Logger } from '@waiter/base'
import { storeCorrupt } from '../errors.ts'
import type { Key, Version, Versioned } from '../key-value-store.ts'
import type { FileSystem } from './file-system.ts'
import { decodeFileHead, type FrameScan, scanFrames } from './frames.ts'
import { decodeRecords, type JournalRecord } from './records.ts'

/** What the files say. */
export interface Recovered {
  readonly entries: ReadonlyMap<Key, Versioned>
  readonly version: Version
  /** The journal that goes with the snapshot; undefined in a new directory. */
  readonly journal: RecoveredJournal | undefined
  /** Left over from before the last snapshot, or from one that was never finished. */
  readonly leftovers: readonly string[]
}

/** A journal to go on with. */
export interface RecoveredJournal {
  /** The version of its snapshot, which is in its name. */
  readonly base: Version
  readonly salt: Buffer
  /** Its sound part. */
  readonly bytes: number
  /** A torn frame follows, which has to be cut off. */
  readonly isTorn: boolean
  readonly snapshotBytes: number
}

/** The name of the journal that holds what came after version `base`. */
export function journalName(base: Version): string {
  return `journal-${String(base).padStart(VERSION_DIGITS, '0')}`
}

/** The name of the snapshot of everything up to `base`. */
export function snapshotName(base: Version): string {
  return `snapshot-${String(base).padStart(VERSION_DIGITS, '0')}`
}

const VERSION_DIGITS = 16

/**
 * Reads the newest snapshot and its journal. Changes nothing.
 *
 * @throws {WaiterError} `WTR_STORE_CORRUPT` when something that was durable cannot be read
 */
export async function recover(fileSystem: FileSystem, directory: string, log: Logger): Promise<Recovered> {
  const names = await fileSystem.list(directory)
  const snapshotBases = basesOf(names, 'snapshot')
  const journalBases = basesOf(names, 'journal')
  const base = Math.max(0, ...snapshotBases)
  const entries = new Map<Key, Versioned>()
  const snapshotBytes = snapshotBases.length === 0 ? 0 : await readSnapshot(fileSystem, directory, { base, entries })
  const strays = journalBases.filter(one => one > base)
  for (const stray of strays) await checkEmpty(fileSystem, directory, stray)
  const leftovers = [
    ...names.filter(name => name.endsWith('.tmp')),
    ...journalBases.filter(one => one !== base).map(journalName),
    ...snapshotBases.filter(one => one !== base).map(snapshotName),
  ]
  if (!journalBases.includes(base)) {
    if (base > 0 || strays.length > 0) {
      throw storeCorrupt({ file: join(directory, journalName(base)), offsetBytes: 0, problem: 'the file is missing' })
    }
    return { entries, version: 0, journal: undefined, leftovers }
  }
  const file = join(directory, journalName(base))
  const { salt, scan, records, sizeBytes } = await readFrames(fileSystem, file)
  if (scan.tail === 'damaged') {
    throw storeCorrupt({ file, offsetBytes: scan.soundBytes, problem: 'a record is broken, and others follow it' })
  }
  const isTorn = scan.tail === 'torn'
  if (isTorn) {
    const fields = { file, offsetBytes: scan.soundBytes, droppedBytes: sizeBytes - scan.soundBytes }
    log.warn(fields, 'the last record was never finished, and is cut off: nobody was told that it was written')
  }
  const version = replay(records, { file, base, entries })
  return { entries, version, leftovers, journal: { base, salt, bytes: scan.soundBytes, isTorn, snapshotBytes } }
}

function basesOf(names: readonly string[], kind: 'snapshot' | 'journal'): number[] {
  return names.filter(name => new RegExp(`^${kind}-\\d{16}$`).test(name)).map(name => Number(name.split('-')[1]))
}

interface Target {
  readonly base: Version
  readonly entries: Map<Key, Versioned>
}

async function readSnapshot(fileSystem: FileSystem, directory: string, { base, entries }: Target): Promise<number> {
  const file = join(directory, snapshotName(base))
  const { scan, records, sizeBytes } = await readFrames(fileSystem, file)
  const last = records.at(-1)
  if (scan.tail !== 'clean' || last?.kind !== 'end' || last.version !== base) {
    throw storeCorrupt({ file, offsetBytes: scan.soundBytes, problem: 'the snapshot is broken or incomplete' })
  }
  for (const record of records) if (record.kind === 'put') entries.set(record.entry.key, record.entry)
  return sizeBytes
}

/** A journal is begun before its snapshot is named, and used only after: one with content has lost its snapshot. */
async function checkEmpty(fileSystem: FileSystem, directory: string, base: Version): Promise<void> {
  const { records } = await readFrames(fileSystem, join(directory, journalName(base)))
  if (records.length === 0) return
  throw storeCorrupt({ file: join(directory, snapshotName(base)), offsetBytes: 0, problem: 'the file is missing' })
}

interface ReadFrames {
  readonly salt: Buffer
  readonly scan: FrameScan
  readonly records: readonly JournalRecord[]
  readonly sizeBytes: number
}

async function readFrames(fileSystem: FileSystem, file: string): Promise<ReadFrames> {
  const bytes = (await fileSystem.read(file)) ?? Buffer.alloc(0)
  const salt = decodeFileHead(bytes)
  if (salt === undefined) throw storeCorrupt({ file, offsetBytes: 0, problem: 'the head of the file is broken' })
  const scan = scanFrames(bytes, salt)
  const records = scan.bodies.flatMap(body => {
    const decoded = decodeRecords(body)
    const offsetBytes = body.byteOffset - bytes.byteOffset
    if (decoded === undefined) throw storeCorrupt({ file, offsetBytes, problem: 'a record has an unknown form' })
    return decoded
  })
  return { salt, scan, records, sizeBytes: bytes.length }
}

function replay(records: readonly JournalRecord[], target: Target & { readonly file: string }): Version {
  let version = target.base
  for (const record of records) {
    const next = record.kind === 'put' ? record.entry.version : record.version
    if (record.kind === 'end' || next <= version) {
      throw storeCorrupt({ file: target.file, offsetBytes: 0, problem: `version ${next} follows version ${version}` })
    }
    version = next
    if (record.kind === 'put') target.entries.set(record.entry.key, record.entry)
    else target.entries.delete(record.key)
  }
  return version
}
