import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Logger } from '@waiter/base'
import type { Version, Versioned } from '../key-value-store.ts'
import type { StateChange } from '../store-state.ts'
import type { FileSystem, JournalFile } from './file-system.ts'
import { encodeFileHead, encodeFrame, FILE_HEAD_BYTES, SALT_BYTES } from './frames.ts'
import { encodeRecord, type JournalRecord } from './records.ts'
import { journalName, type Recovered, recover, snapshotName } from './recovery.ts'

/** The files of one store. One call at a time; after a failure none, since the files are then in an unknown state. */
export interface Journal {
  /** Resolves when all changes are durable: with one sync, all or none. */
  append(changes: readonly StateChange[]): Promise<void>
  /** True when a snapshot would be shorter to read than the journal. */
  isLong(): boolean
  /** Replaces snapshot and journal by a snapshot of `entries` and an empty journal. */
  compact(entries: readonly Versioned[], version: Version): Promise<void>
  close(): Promise<void>
}

/** Where the files are. */
export interface JournalOrder {
  readonly directory: string
  readonly fileSystem: FileSystem
  readonly log: Logger
  readonly journalBytesMax: number
}

/** Frames of a snapshot are about this long. */
const SNAPSHOT_FRAME_BYTES = 2 ** 20

/**
 * Reads what is there, cuts off a torn record, and opens the journal for more.
 *
 * @throws {WaiterError} `WTR_STORE_CORRUPT`
 */
export async function openJournal(order: JournalOrder): Promise<{ journal: Journal; recovered: Recovered }> {
  const { directory, fileSystem, log } = order
  const recovered = await recover(fileSystem, directory, log)
  for (const name of recovered.leftovers) await fileSystem.remove(join(directory, name))
  const path = (base: Version): string => join(directory, journalName(base))
  let base = recovered.journal?.base ?? 0
  let salt = recovered.journal?.salt ?? randomBytes(SALT_BYTES)
  let bytes = recovered.journal?.bytes ?? FILE_HEAD_BYTES
  let snapshotBytes = recovered.journal?.snapshotBytes ?? 0
  if (recovered.journal === undefined) await createDurably(order, journalName(0), [encodeFileHead(salt)])
  let file: JournalFile = await fileSystem.open(path(base), 'append')
  if (recovered.journal?.isTorn) await file.truncate(bytes)
  const compact = async (entries: readonly Versioned[], version: Version): Promise<void> => {
    const nextSalt = randomBytes(SALT_BYTES)
    // This order: a journal may lack its snapshot only while it is empty, a snapshot never lacks its journal.
    await createDurably(order, journalName(version), [encodeFileHead(nextSalt)])
    const frames = encodeSnapshot(entries, version)
    snapshotBytes = await createDurably(order, snapshotName(version), frames)
    await file.close()
    await fileSystem.remove(path(base))
    if (base > 0) await fileSystem.remove(join(directory, snapshotName(base)))
    file = await fileSystem.open(path(version), 'append')
    log.info({ directory, version, journalBytes: bytes, snapshotBytes }, 'wrote a snapshot and began a new journal')
    base = version
    salt = nextSalt
    bytes = FILE_HEAD_BYTES
  }
  const journal: Journal = {
    append: async changes => {
      const frame = encodeFrame(salt, Buffer.concat(changes.map(encodeRecord)))
      await file.append(frame)
      await file.sync()
      bytes += frame.length
    },
    // Twice the snapshot: then a large store writes each byte about once more, not again and again.
    isLong: () => bytes > Math.max(order.journalBytesMax, 2 * snapshotBytes),
    compact,
    close: () => file.close(),
  }
  await file.sync()
  await fileSystem.syncDirectory(directory)
  // What was read may have come from the system's cache after a failed sync, and a second sync would not tell. Written
  // anew it is durable, and what is acknowledged from now on does not build on sand.
  if (recovered.version > base) await compact([...recovered.entries.values()], recovered.version)
  return { journal, recovered }
}

/** Makes a file that is there whole or not at all, whenever the machine stops. @returns its size in bytes */
async function createDurably(order: JournalOrder, name: string, parts: Iterable<Buffer>): Promise<number> {
  const { directory, fileSystem } = order
  const temporary = join(directory, `${name}.tmp`)
  const file = await fileSystem.open(temporary, 'create')
  let bytes = 0
  for (const part of parts) {
    await file.append(part)
    bytes += part.length
  }
  await file.sync()
  await file.close()
  await fileSystem.rename(temporary, join(directory, name))
  await fileSystem.syncDirectory(directory)
  return bytes
}

function* encodeSnapshot(entries: readonly Versioned[], version: Version): Generator<Buffer> {
  const salt = randomBytes(SALT_BYTES)
  yield encodeFileHead(salt)
  let held: Buffer[] = []
  let heldBytes = 0
  const records: JournalRecord[] = entries.map(entry => ({ kind: 'put', entry }))
  for (const record of records) {
    const bytes = encodeRecord(record)
    held.push(bytes)
    heldBytes += bytes.length
    if (heldBytes < SNAPSHOT_FRAME_BYTES) continue
    yield encodeFrame(salt, Buffer.concat(held))
    held = []
    heldBytes = 0
  }
  held.push(encodeRecord({ kind: 'end', version }))
  yield encodeFrame(salt, Buffer.concat(held))
}
