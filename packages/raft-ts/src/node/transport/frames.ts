import { RaftNodeError } from '../errors.ts'

/*
 * A connection carries frames: [payload's length u32][type u8][payload], little-endian. The connection's first frame is
 * a hello. TCP sees to order and damage.
 */

const HEAD_BYTES = 5

/** What a frame is. Numbers are for ever. */
export const FRAME = {
  hello: 1,
  messages: 2,
  /** From the receiver of messages: I am alive. */
  alive: 3,
  snapshotHead: 4,
  snapshotPiece: 5,
  snapshotEnd: 6,
  /** From the receiver of a snapshot: taken. */
  accepted: 7,
  /** From the receiver of a snapshot: not taken, and why. */
  refused: 8,
} as const

/** One frame as it came. */
export interface Frame {
  readonly type: number
  readonly payload: Buffer
}

/** The head that goes before a payload. */
export function frameHead(type: number, payloadBytes: number): Buffer {
  const head = Buffer.allocUnsafe(HEAD_BYTES)
  head.writeUInt32LE(payloadBytes, 0)
  head[4] = type
  return head
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  #maxBytes: number
  #parts: Buffer[] = []
  #bytes = 0
  /** Bytes that must be there before it is worth looking again. */
  #needed = HEAD_BYTES

  /** @param maxBytes longer frames end the connection */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** From now on frames may be so long: who has said who it is may say more. */
  allow(maxBytes: number): void {
    this.#maxBytes = maxBytes
  }

  /**
   * Takes bytes and hands on the frames that are whole now, one by one: each may change what is allowed next.
   *
   * @throws {RaftNodeError} `RAFT_BAD_PEER` when a frame is too long
   */
  push(chunk: Buffer, onFrame: (frame: Frame) => void): void {
    this.#parts.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes < this.#needed) return
    const bytes = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts, this.#bytes)
    let at = 0
    this.#needed = HEAD_BYTES
    while (at + HEAD_BYTES <= bytes.length) {
      const length = bytes.readUInt32LE(at)
      if (length > this.#maxBytes) throw tooLong(length, this.#maxBytes)
      const end = at + HEAD_BYTES + length
      if (end > bytes.length) {
        this.#needed = HEAD_BYTES + length
        break
      }
      onFrame({ type: bytes[at + 4]!, payload: bytes.subarray(at + HEAD_BYTES, end) })
      at = end
    }
    this.#parts = at === bytes.length ? [] : [bytes.subarray(at)]
    this.#bytes = bytes.length - at
  }
}

function tooLong(length: number, maxBytes: number): RaftNodeError {
  const message = `A peer announced a frame of ${length} bytes, more than ${maxBytes}: is it a raft node at all?`
  return new RaftNodeError(message, { code: 'RAFT_BAD_PEER' })
}
