import { join } from 'node:path'
import { assert } from '@waiter/base'
import type { HardState, LogIndex } from '../../index.ts'
import type { AppendFile, FileSystem } from './file-system.ts'
import { encodeSegmentHead, LOG_FORMAT, RECORD, RecordWriter } from './records.ts'
import { type Segment, segmentName } from './recovery.ts'

/** What the files of a log need. */
export interface SegmentsOptions {
  readonly directory: string
  readonly fileSystem: FileSystem
  /** A new random number for each file; see `records.ts`. */
  readonly newSalt: () => number
}

/** The files of one log: the last one is written, the others wait to be dropped. One caller at a time. */
export class Segments {
  readonly #options: SegmentsOptions
  readonly #segments: Segment[]
  #file: AppendFile | undefined
  /** Of the last file. */
  #bytes: number
  #durableBytes: number

  constructor(options: SegmentsOptions, found: { readonly segments: readonly Segment[]; readonly bytes: number }) {
    this.#options = options
    this.#segments = [...found.segments]
    this.#bytes = found.bytes
    this.#durableBytes = found.bytes
  }

  get count(): number {
    return this.#segments.length
  }

  get bytes(): number {
    return this.#bytes
  }

  get durableBytes(): number {
    return this.#durableBytes
  }

  get salt(): number {
    return this.#last.salt
  }

  /** Opens the last file for more, cut to what is sound; makes the first if there is none. */
  async open(hardState: HardState, isTorn: boolean): Promise<void> {
    if (this.#segments.length === 0) {
      await this.rotate(hardState)
      return
    }
    const file = await this.#options.fileSystem.open(this.#path(this.#last), 'append')
    this.#file = file
    if (isTorn) await file.truncate(this.#bytes)
    // What a process wrote and did not sync before it was killed can be read, and lost later: make it durable before
    // anything is promised on its ground.
    await file.sync()
    await this.#options.fileSystem.syncDirectory(this.#options.directory)
  }

  /** Appends what was made with the present `salt`. */
  async append(bytes: Uint8Array, lastIndex: LogIndex): Promise<void> {
    assert(this.#file !== undefined, 'the log is not open')
    await this.#file.append(bytes)
    this.#bytes += bytes.length
    this.#last.lastIndex = Math.max(this.#last.lastIndex, lastIndex)
  }

  async sync(): Promise<void> {
    assert(this.#file !== undefined, 'the log is not open')
    const bytes = this.#bytes
    await this.#file.sync()
    this.#durableBytes = bytes
  }

  /**
   * Begins a new file. The old one is durable before; the new one gets its name when its head is durable, so that a
   * file with a name always has a head.
   */
  async rotate(hardState: HardState): Promise<void> {
    const { directory, fileSystem, newSalt } = this.#options
    if (this.#file !== undefined) {
      await this.sync()
      await this.#file.close()
    }
    const sequence = (this.#segments.at(-1)?.sequence ?? 0) + 1
    const segment: Segment = { sequence, salt: newSalt(), lastIndex: 0 }
    const path = this.#path(segment)
    const file = await fileSystem.open(`${path}.tmp`, 'create')
    const payload = encodeSegmentHead({ ...hardState, format: LOG_FORMAT, sequence, salt: segment.salt })
    const head = new RecordWriter(0).add(RECORD.segmentHead, payload).finish()
    await file.append(head)
    await file.sync()
    await fileSystem.rename(`${path}.tmp`, path)
    await fileSystem.syncDirectory(directory)
    this.#file = file
    this.#segments.push(segment)
    this.#bytes = head.length
    this.#durableBytes = head.length
  }

  /** A snapshot took the log's place: nothing in the files so far matters. */
  forgetAll(): void {
    for (const segment of this.#segments) segment.lastIndex = 0
  }

  /** Drops the oldest files as long as they hold nothing after `through`; never the one that is written. */
  async dropThrough(through: LogIndex): Promise<void> {
    while (this.#segments.length > 1 && this.#segments[0]!.lastIndex <= through) {
      const [oldest] = this.#segments.splice(0, 1)
      await this.#options.fileSystem.remove(this.#path(oldest!))
      // One by one: a hole in the middle of the row could not be told from damage.
      await this.#options.fileSystem.syncDirectory(this.#options.directory)
    }
  }

  async close(): Promise<void> {
    await this.#file?.close()
    this.#file = undefined
  }

  get #last(): Segment {
    return this.#segments.at(-1)!
  }

  #path({ sequence }: Segment): string {
    return join(this.#options.directory, segmentName(sequence))
  }
}
