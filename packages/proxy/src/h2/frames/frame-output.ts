import { SLAB_BYTES, type TurnScheduler } from '../turn-scheduler.ts'
import { Flag, FRAME_HEADER_BYTES, FrameType } from './frame-type.ts'

/** GOAWAY's debug data is for people; longer texts help nobody. */
const DEBUG_BYTES_MAX = 256

/**
 * Writes frames one behind the other into slabs until the turn's end.
 *
 * The last frame may be amended while it has not left: an end of stream that comes right behind DATA or HEADERS needs
 * no frame of its own.
 */
export class FrameOutput {
  readonly #scheduler: TurnScheduler
  #full: Buffer[] = []
  /** Slabs among what was filled, to be given back once the kernel has copied them. */
  #slabs: Buffer[] = []
  #slab: Buffer | null = null
  #at = 0
  #fullBytes = 0
  /** Where the last frame's flags are in `#slab`, if it may still carry END_STREAM; else -1. */
  #flagsAt = -1
  #flagsStreamId = 0

  constructor(scheduler: TurnScheduler) {
    this.#scheduler = scheduler
  }

  /** Octets written and not yet taken. */
  get length(): number {
    return this.#fullBytes + this.#at
  }

  /** Sees to it that `memory` has room for `bytes` octets at `offset`. */
  reserve(bytes: number): void {
    if (this.#slab !== null && this.#at + bytes <= this.#slab.length) return
    this.#closeSlab()
    if (bytes <= SLAB_BYTES) {
      this.#slab = this.#scheduler.takeSlab()
      this.#slabs.push(this.#slab)
    } else {
      this.#slab = Buffer.allocUnsafeSlow(bytes)
    }
  }

  get memory(): Buffer {
    return this.#slab!
  }

  get offset(): number {
    return this.#at
  }

  /** A frame header at the present offset; `reserve` first. */
  writeHeader(length: number, type: number, flags: number, streamId: number): void {
    this.#at = writeFrameHeader(this.#slab!, this.#at, length, type, flags, streamId)
    this.#flagsAt = -1
  }

  /** One frame around the `length` octets that were put behind `FRAME_HEADER_BYTES` free ones at the present offset. */
  frameAround(length: number, type: number, flags: number, streamId: number): void {
    this.#rememberFlags(this.#at + 4, streamId)
    this.#at = writeFrameHeader(this.#slab!, this.#at, length, type, flags, streamId) + length
  }

  writeData(streamId: number, bytes: Buffer, start: number, end: number): void {
    const length = end - start
    this.reserve(FRAME_HEADER_BYTES + length)
    this.#rememberFlags(this.#at + 4, streamId)
    const pos = writeFrameHeader(this.#slab!, this.#at, length, FrameType.DATA, 0, streamId)
    bytes.copy(this.#slab!, pos, start, end)
    this.#at = pos + length
  }

  /** Ends a stream: on its last frame if that is the last one here, else by an empty DATA frame. */
  writeEndStream(streamId: number): void {
    if (this.#flagsAt >= 0 && this.#flagsStreamId === streamId) {
      this.#slab![this.#flagsAt]! |= Flag.END_STREAM
      this.#flagsAt = -1
      return
    }
    this.reserve(FRAME_HEADER_BYTES)
    this.writeHeader(0, FrameType.DATA, Flag.END_STREAM, streamId)
  }

  writeReset(streamId: number, code: number): void {
    this.reserve(FRAME_HEADER_BYTES + 4)
    this.writeHeader(4, FrameType.RST_STREAM, 0, streamId)
    this.writeUint32(code)
  }

  writeWindowUpdate(streamId: number, increment: number): void {
    this.reserve(FRAME_HEADER_BYTES + 4)
    this.writeHeader(4, FrameType.WINDOW_UPDATE, 0, streamId)
    this.writeUint32(increment)
  }

  writeSettings(settings: readonly (readonly [id: number, value: number])[]): void {
    this.reserve(FRAME_HEADER_BYTES + settings.length * 6)
    this.writeHeader(settings.length * 6, FrameType.SETTINGS, 0, 0)
    for (const [id, value] of settings) {
      this.#slab![this.#at++] = id >>> 8
      this.#slab![this.#at++] = id
      this.writeUint32(value)
    }
  }

  writeSettingsAck(): void {
    this.reserve(FRAME_HEADER_BYTES)
    this.writeHeader(0, FrameType.SETTINGS, Flag.ACK, 0)
  }

  /** @param payload 8 octets from `start` */
  writePing(isAck: boolean, payload: Buffer, start: number): void {
    this.reserve(FRAME_HEADER_BYTES + 8)
    this.writeHeader(8, FrameType.PING, isAck ? Flag.ACK : 0, 0)
    payload.copy(this.#slab!, this.#at, start, start + 8)
    this.#at += 8
  }

  writeGoaway(lastStreamId: number, code: number, debug: string): void {
    const text = debug.slice(0, DEBUG_BYTES_MAX)
    this.reserve(FRAME_HEADER_BYTES + 8 + text.length)
    this.writeHeader(8 + text.length, FrameType.GOAWAY, 0, 0)
    this.writeUint32(lastStreamId)
    this.writeUint32(code)
    this.#at += this.#slab!.write(text, this.#at, text.length, 'latin1')
  }

  /** Bytes that are no frame: the preface. */
  writeRaw(bytes: Buffer): void {
    this.reserve(bytes.length)
    this.#at += bytes.copy(this.#slab!, this.#at)
    this.#flagsAt = -1
  }

  writeUint32(value: number): void {
    const slab = this.#slab!
    let at = this.#at
    slab[at++] = value >>> 24
    slab[at++] = value >>> 16
    slab[at++] = value >>> 8
    slab[at++] = value
    this.#at = at
  }

  /** Everything written so far, in order; `clear` must follow. */
  take(): readonly Buffer[] {
    if (this.#full.length === 0) return this.#at === 0 ? [] : [this.#slab!.subarray(0, this.#at)]
    this.#closeSlab()
    return this.#full
  }

  /** The pooled memory that holds it, for whoever learns when it is free again. */
  get slabs(): readonly Buffer[] {
    return this.#slabs
  }

  /** Begins anew in other memory. */
  clear(): void {
    this.#full = []
    this.#slabs = []
    this.#slab = null
    this.#at = 0
    this.#fullBytes = 0
    this.#flagsAt = -1
  }

  #rememberFlags(at: number, streamId: number): void {
    this.#flagsAt = at
    this.#flagsStreamId = streamId
  }

  #closeSlab(): void {
    if (this.#slab !== null && this.#at > 0) this.#full.push(this.#slab.subarray(0, this.#at))
    this.#fullBytes += this.#at
    this.#slab = null
    this.#at = 0
    this.#flagsAt = -1
  }
}

function writeFrameHeader(
  out: Buffer,
  at: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): number {
  out[at] = length >>> 16
  out[at + 1] = length >>> 8
  out[at + 2] = length
  out[at + 3] = type
  out[at + 4] = flags
  out[at + 5] = streamId >>> 24
  out[at + 6] = streamId >>> 16
  out[at + 7] = streamId >>> 8
  out[at + 8] = streamId
  return at + FRAME_HEADER_BYTES
}
