import { join } from 'node:path'
import { ByteReader, ByteWriter, type EntryId, MalformedBytes } from '../../index.ts'
import { logCorrupt } from '../errors.ts'
import type { SnapshotId, SnapshotSource } from '../log-storage.ts'
import { readConf, writeConf } from '../wire/entry-codec.ts'
import type { AppendFile, FileSystem, ReadFile } from './file-system.ts'
import { PAYLOAD_BYTES_MAX, RECORD, RECORD_HEAD_BYTES, RecordWriter, readRecord } from './records.ts'

/*
 * A snapshot is one file: head (which state, which members), pieces, end (how many bytes in all). It is written under
 * a temporary name, synced and renamed: a file with a final name is whole, and so damage in it is damage.
 */

/** Bytes in one piece: what is held in memory at a time. */
const PIECE_BYTES_MAX: number = 256 * 1024
/** The end record holds the total as 8 fixed bytes, so that it is found from the file's end. */
const END_BYTES: number = RECORD_HEAD_BYTES + 8
const SALT = 0

const NAME = /^([0-9]{16})-([0-9]{16})\.snapshot$/

/** The final name; sorts by index. */
export function snapshotName({ index, term }: EntryId): string {
  return `${String(index).padStart(16, '0')}-${String(term).padStart(16, '0')}.snapshot`
}

/** Which state a file holds, by its name; undefined for other files. */
export function parseSnapshotName(name: string): EntryId | undefined {
  const match = NAME.exec(name)
  return match === null ? undefined : { index: Number(match[1]), term: Number(match[2]) }
}

/** Writes a snapshot under a temporary name. */
export class SnapshotWriter {
  readonly #file: AppendFile
  #totalBytes = 0

  private constructor(file: AppendFile) {
    this.#file = file
  }

  static async create(fileSystem: FileSystem, path: string, id: SnapshotId): Promise<SnapshotWriter> {
    const file = await fileSystem.open(path, 'create')
    const head = new ByteWriter().varint(id.index).varint(id.term)
    writeConf(head, id.conf)
    await file.append(new RecordWriter(SALT).add(RECORD.snapshotHead, head.finish()).finish())
    return new SnapshotWriter(file)
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES_MAX) {
      const piece = bytes.subarray(at, at + PIECE_BYTES_MAX)
      await this.#file.append(new RecordWriter(SALT).add(RECORD.snapshotPiece, piece).finish())
      this.#totalBytes += piece.length
    }
  }

  /** Resolves when the content is durable, under the temporary name. */
  async finish(): Promise<void> {
    const end = Buffer.alloc(8)
    end.writeBigUInt64LE(BigInt(this.#totalBytes))
    await this.#file.append(new RecordWriter(SALT).add(RECORD.snapshotEnd, end).finish())
    await this.#file.sync()
    await this.#file.close()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

/**
 * Opens a snapshot with a final name; undefined when it is gone.
 *
 * @throws {RaftNodeError} `RAFT_LOG_CORRUPT`
 */
export async function openSnapshotFile(
  fileSystem: FileSystem,
  directory: string,
  id: EntryId,
): Promise<SnapshotSource | undefined> {
  const path = join(directory, snapshotName(id))
  const file = await fileSystem.openRead(path)
  if (file === undefined) return undefined
  try {
    const reader = new SnapshotReader(file, path)
    const head = await reader.readHead()
    const totalBytes = await reader.readTotal()
    return {
      id: head,
      totalBytes,
      chunks: () => reader.pieces(totalBytes),
      close: () => file.close(),
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

class SnapshotReader {
  readonly #file: ReadFile
  readonly #path: string
  #piecesAt = 0

  constructor(file: ReadFile, path: string) {
    this.#file = file
    this.#path = path
  }

  async readHead(): Promise<SnapshotId> {
    const { payload, end } = await this.#readRecord(0, RECORD.snapshotHead)
    this.#piecesAt = end
    try {
      const reader = new ByteReader(payload)
      return { index: reader.varint(), term: reader.varint(), conf: readConf(reader) }
    } catch (error) {
      if (error instanceof MalformedBytes) throw logCorrupt({ file: this.#path, offset: 0 }, `${error.message}.`)
      throw error
    }
  }

  async readTotal(): Promise<number> {
    const at = Math.max(0, this.#file.bytes - END_BYTES)
    const { payload } = await this.#readRecord(at, RECORD.snapshotEnd)
    return Number(Buffer.from(payload).readBigUInt64LE())
  }

  async *pieces(totalBytes: number): AsyncGenerator<Uint8Array> {
    let at = this.#piecesAt
    let left = totalBytes
    while (left > 0) {
      const { payload, end } = await this.#readRecord(at, RECORD.snapshotPiece)
      left -= payload.length
      at = end
      yield payload
    }
    if (left < 0 || at !== this.#file.bytes - END_BYTES) {
      throw logCorrupt({ file: this.#path, offset: at }, 'the pieces of this snapshot do not add up.')
    }
  }

  async #readRecord(at: number, type: number): Promise<{ payload: Uint8Array; end: number }> {
    const head = await this.#file.read(at, RECORD_HEAD_BYTES)
    const length = head.length < RECORD_HEAD_BYTES ? PAYLOAD_BYTES_MAX + 1 : head.readUInt32LE(0)
    const fits = at + RECORD_HEAD_BYTES + length <= this.#file.bytes
    const bytes = fits ? await this.#file.read(at, RECORD_HEAD_BYTES + length) : head
    const record = readRecord(bytes, 0, SALT)
    if (record === undefined || record.type !== type) {
      throw logCorrupt({ file: this.#path, offset: at }, 'this snapshot was durable and is needed.')
    }
    return { payload: record.payload, end: at + record.end }
  }
}
