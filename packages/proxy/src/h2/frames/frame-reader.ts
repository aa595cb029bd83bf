import { ErrorCode } from '../error-code.ts'
import { type FrameFault, type FrameHeader, findFrameFault } from './frame-rules.ts'
import { Flag, FRAME_HEADER_BYTES, FrameType, PREFACE } from './frame-type.ts'

/** Who is told of frames. Ranges are valid only during the call. */
export interface FrameHandler {
  /** A frame begins; false ends the reading for good. Comes before all other calls for the frame. */
  onFrameHeader(header: FrameHeader): boolean
  /** Whole payload of any frame but DATA. */
  onFrame(header: FrameHeader, bytes: Buffer, start: number, end: number): void
  /** Some payload of a DATA frame, padding excluded, as it comes in. */
  onDataBytes(bytes: Buffer, start: number, end: number): void
  onDataEnd(header: FrameHeader): void
  onFault(fault: FrameFault, streamId: number): void
}

const State = { PREFACE: 0, HEADER: 1, PAYLOAD: 2, PAD_LENGTH: 3, DATA: 4, PADDING: 5, SKIP: 6, STOPPED: 7 } as const

class Header implements FrameHeader {
  type = 0
  flags = 0
  streamId = 0
  length = 0
}

/**
 * Cuts bytes into frames, whatever pieces they come in. DATA is handed on as it arrives; other payloads are handed on
 * in place when they are whole and gathered (bounded by the frame limit) when they are not.
 */
export class FrameReader {
  readonly #handler: FrameHandler
  readonly #frameBytesMax: number
  readonly #header = new Header()
  /** Beginning of a frame header or payload that was cut by the end of a piece. */
  #stash: Buffer | null = null
  #stashed = 0
  /** Octets left of the payload or the preface. */
  #remaining = 0
  #padding = 0
  #state: number

  constructor(handler: FrameHandler, options: { frameBytesMax: number; expectsPreface: boolean }) {
    this.#handler = handler
    this.#frameBytesMax = options.frameBytesMax
    this.#state = options.expectsPreface ? State.PREFACE : State.HEADER
    this.#remaining = options.expectsPreface ? PREFACE.length : 0
  }

  /** Reads nothing more. */
  stop(): void {
    this.#state = State.STOPPED
    this.#stash = null
  }

  push(bytes: Buffer, start: number, end: number): void {
    let pos = start
    while (this.#state !== State.STOPPED) {
      if (pos >= end && !this.#isPayloadComplete()) break
      pos = this.#state === State.HEADER ? this.#readHeader(bytes, pos, end) : this.#readBody(bytes, pos, end)
    }
  }

  /** Frames without payload are complete with their header. */
  #isPayloadComplete(): boolean {
    if (this.#remaining > 0) return false
    return this.#state === State.PAYLOAD || this.#state === State.DATA || this.#state === State.SKIP
  }

  #readBody(bytes: Buffer, pos: number, end: number): number {
    switch (this.#state) {
      case State.PREFACE:
        return this.#readPreface(bytes, pos, end)
      case State.PAYLOAD:
        return this.#readPayload(bytes, pos, end)
      case State.PAD_LENGTH:
        return this.#readPadLength(bytes, pos)
      case State.DATA:
        return this.#readData(bytes, pos, end)
      case State.PADDING:
        return this.#skip(pos, end, 'padding')
      default:
        return this.#skip(pos, end, 'frame')
    }
  }

  #readPreface(bytes: Buffer, start: number, end: number): number {
    let pos = start
    while (pos < end && this.#remaining > 0) {
      if (bytes[pos++] !== PREFACE[PREFACE.length - this.#remaining]) {
        this.#fault({ scope: 'connection', code: ErrorCode.PROTOCOL_ERROR, detail: 'no HTTP/2 connection preface' })
        return end
      }
      this.#remaining -= 1
    }
    if (this.#remaining === 0) this.#state = State.HEADER
    return pos
  }

  #readHeader(bytes: Buffer, start: number, end: number): number {
    let source = bytes
    let at = start
    let pos = start + FRAME_HEADER_BYTES
    if (this.#stashed > 0 || pos > end) {
      pos = this.#gather(bytes, start, end, FRAME_HEADER_BYTES)
      if (this.#stashed < FRAME_HEADER_BYTES) return pos
      source = this.#stash!
      at = 0
      this.#stashed = 0
    }
    const header = this.#header
    header.length = (source[at]! << 16) | (source[at + 1]! << 8) | source[at + 2]!
    header.type = source[at + 3]!
    header.flags = source[at + 4]!
    header.streamId =
      ((source[at + 5]! & 0x7f) << 24) | (source[at + 6]! << 16) | (source[at + 7]! << 8) | source[at + 8]!
    this.#begin(header)
    return pos
  }

  #begin(header: Header): void {
    this.#remaining = header.length
    const fault = findFrameFault(header, this.#frameBytesMax)
    if (fault !== null && fault.scope === 'connection') {
      this.#fault(fault)
      return
    }
    if (!this.#handler.onFrameHeader(header)) {
      this.stop()
      return
    }
    if (this.#state === State.STOPPED) return
    if (fault !== null) {
      this.#state = State.SKIP
      this.#handler.onFault(fault, header.streamId)
    } else if (header.type !== FrameType.DATA) {
      this.#state = State.PAYLOAD
    } else {
      this.#padding = 0
      this.#state = (header.flags & Flag.PADDED) !== 0 ? State.PAD_LENGTH : State.DATA
    }
  }

  #readPayload(bytes: Buffer, start: number, end: number): number {
    const { length } = this.#header
    if (this.#stashed === 0 && start + length <= end) {
      this.#state = State.HEADER
      this.#handler.onFrame(this.#header, bytes, start, start + length)
      return start + length
    }
    const pos = this.#gather(bytes, start, end, length)
    this.#remaining = length - this.#stashed
    if (this.#remaining > 0) return pos
    const payload = this.#stash!
    this.#stashed = 0
    this.#stash = null
    this.#state = State.HEADER
    this.#handler.onFrame(this.#header, payload, 0, length)
    return pos
  }

  #readPadLength(bytes: Buffer, pos: number): number {
    this.#padding = bytes[pos]!
    this.#remaining -= 1
    if (this.#padding > this.#remaining) {
      this.#fault({ scope: 'connection', code: ErrorCode.PROTOCOL_ERROR, detail: 'padding longer than the frame' })
      return pos + 1
    }
    this.#remaining -= this.#padding
    this.#state = State.DATA
    return pos + 1
  }

  #readData(bytes: Buffer, start: number, end: number): number {
    const stop = Math.min(end, start + this.#remaining)
    this.#remaining -= stop - start
    if (this.#remaining === 0) this.#state = this.#padding > 0 ? State.PADDING : State.HEADER
    if (stop > start) this.#handler.onDataBytes(bytes, start, stop)
    if (this.#state === State.HEADER) this.#handler.onDataEnd(this.#header)
    return stop
  }

  #skip(start: number, end: number, what: 'padding' | 'frame'): number {
    const isPadding = what === 'padding'
    const left = isPadding ? this.#padding : this.#remaining
    const stop = Math.min(end, start + left)
    if (isPadding) this.#padding = left - (stop - start)
    else this.#remaining = left - (stop - start)
    if (stop - start < left) return stop
    this.#state = State.HEADER
    if (isPadding) this.#handler.onDataEnd(this.#header)
    return stop
  }

  /** Appends to the stash until it holds `wanted` octets; returns the offset behind what was taken. */
  #gather(bytes: Buffer, start: number, end: number, wanted: number): number {
    if (this.#stash === null || this.#stash.length < wanted) {
      const larger = Buffer.allocUnsafe(Math.max(wanted, FRAME_HEADER_BYTES))
      if (this.#stash !== null) this.#stash.copy(larger, 0, 0, this.#stashed)
      this.#stash = larger
    }
    const stop = Math.min(end, start + wanted - this.#stashed)
    bytes.copy(this.#stash, this.#stashed, start, stop)
    this.#stashed += stop - start
    return stop
  }

  #fault(fault: FrameFault): void {
    this.#handler.onFault(fault, this.#header.streamId)
    if (fault.scope === 'connection') this.stop()
  }
}
