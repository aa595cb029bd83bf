import { type MsgSnap, NO_DATA, type SnapshotChunk } from '../index.ts'
import { RaftNodeError } from './errors.ts'
import type { LogStorage, SnapshotId, SnapshotSource } from './log-storage.ts'
import type { Transport } from './transport.ts'
import { checksum } from './wal/checksum.ts'

/** What a transfer needs of its node. */
export interface TransferContext {
  readonly storage: LogStorage
  readonly transport: Transport
  /** A transfer that takes longer is given up. */
  readonly timeoutTicks: number
  /** So is one in which nothing moves for so long: the other side may be gone without a word. */
  readonly stallTicks: number
  /** Refuses larger ones before taking disk for them. */
  readonly maxSnapshotBytes: number
}

interface Transfer {
  readonly abort: AbortController
  readonly deadlineTick: number
  /** When a piece moved last. */
  movedTick: number
}

/** Snapshots on their way out and in. At most one to each peer (the core sees to it), and one in at a time. */
export class SnapshotTransfers {
  readonly #context: TransferContext
  /** Those in which pieces still move, in and out. */
  readonly #moving = new Set<Transfer>()
  #incoming: SnapshotId | undefined
  #tick = 0

  constructor(context: TransferContext) {
    this.#context = context
  }

  tick(): void {
    this.#tick++
    for (const { abort, deadlineTick, movedTick } of this.#moving) {
      if (deadlineTick <= this.#tick) abort.abort(failed('It took too long.'))
      else if (this.#tick - movedTick >= this.#context.stallTicks) abort.abort(failed('Nothing moved for too long.'))
    }
  }

  abortAll(): void {
    for (const { abort } of this.#moving) abort.abort(failed('This node is stopping.'))
  }

  /** Sends the snapshot a message names. Rejects when it did not arrive. */
  async send(message: MsgSnap): Promise<void> {
    const { storage, transport } = this.#context
    const source = await storage.openSnapshot(message.snapshot)
    if (source === undefined) throw failed(`The one at entry ${message.snapshot.index} was replaced by a newer one.`)
    const transfer = this.#begin()
    try {
      const chunks = this.#watched(chunksOf(source), transfer)
      await transport.sendSnapshot(withoutContent(message), chunks, transfer.abort.signal)
    } finally {
      this.#moving.delete(transfer)
      await source.close()
    }
  }

  /**
   * Takes a snapshot to disk. Until `done` no other is taken: the core may be about to install this one.
   *
   * @returns how to drop it, should the core not want it
   */
  async receive(message: MsgSnap, chunks: AsyncIterable<SnapshotChunk>): Promise<{ discard(): Promise<void> }> {
    if (this.#incoming !== undefined) throw failed('Another one is being received.')
    const { index, term, conf } = message.snapshot
    this.#incoming = { index, term, conf }
    const transfer = this.#begin()
    try {
      const sink = await this.#context.storage.receiveSnapshot(this.#incoming)
      try {
        const pieces = checked(this.#watched(chunks, transfer), this.#context.maxSnapshotBytes)
        for await (const bytes of pieces) await sink.write(bytes)
        await sink.finish()
      } catch (error) {
        await sink.abort()
        throw error
      }
      return { discard: () => sink.abort() }
    } catch (error) {
      this.done()
      throw error
    } finally {
      this.#moving.delete(transfer)
    }
  }

  /** The received one has been installed or dropped. */
  done(): void {
    this.#incoming = undefined
  }

  #begin(): Transfer {
    const deadlineTick = this.#tick + this.#context.timeoutTicks
    const transfer = { abort: new AbortController(), deadlineTick, movedTick: this.#tick }
    this.#moving.add(transfer)
    return transfer
  }

  // Notes every piece, and does not wait for one that never comes once the transfer has been given up.
  async *#watched(chunks: AsyncIterable<SnapshotChunk>, transfer: Transfer): AsyncGenerator<SnapshotChunk> {
    const { signal } = transfer.abort
    const iterator = chunks[Symbol.asyncIterator]()
    const { promise: givenUp, reject } = Promise.withResolvers<never>()
    givenUp.catch(() => undefined)
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      for (;;) {
        const next = await Promise.race([iterator.next(), givenUp])
        if (next.done === true) return
        transfer.movedTick = this.#tick
        yield next.value
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
      // Not waited for: what hangs would hang here too.
      iterator.return?.().catch(() => undefined)
    }
  }
}

async function* chunksOf(source: SnapshotSource): AsyncGenerator<SnapshotChunk> {
  const { totalBytes } = source
  let offset = 0
  for await (const bytes of source.chunks()) {
    yield { offset, bytes, crc32c: checksum(bytes), totalBytes }
    offset += bytes.length
  }
  if (offset === 0) yield { offset: 0, bytes: NO_DATA, crc32c: checksum(NO_DATA), totalBytes: 0 }
}

// Pieces come in order, whole, and add up; or it fails.
async function* checked(chunks: AsyncIterable<SnapshotChunk>, maxBytes: number): AsyncGenerator<Uint8Array> {
  let offset = 0
  let total: number | undefined
  for await (const chunk of chunks) {
    total ??= chunk.totalBytes
    if (total > maxBytes) throw failed(`It has ${total} bytes, more than the limit of ${maxBytes}.`)
    if (chunk.totalBytes !== total || chunk.offset !== offset) throw failed(`A piece is missing at byte ${offset}.`)
    if (checksum(chunk.bytes) !== chunk.crc32c) throw failed(`The piece at byte ${offset} is damaged.`)
    offset += chunk.bytes.length
    if (offset > total) throw failed('It is longer than announced.')
    yield chunk.bytes
  }
  if (total === undefined || offset !== total)
    throw failed(`It ended at byte ${offset} of ${total ?? 'an unknown total'}.`)
}

function withoutContent(message: MsgSnap): MsgSnap {
  return { ...message, snapshot: { ...message.snapshot, data: NO_DATA } }
}

function failed(why: string): RaftNodeError {
  return new RaftNodeError(`The snapshot was not transferred. ${why}`, { code: 'RAFT_SNAPSHOT_FAILED' })
}
