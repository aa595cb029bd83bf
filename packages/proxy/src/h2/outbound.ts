import { FrameOutput } from './frames/frame-output.ts'
import { Flag, FRAME_HEADER_BYTES, FrameType, INITIAL_WINDOW_BYTES, WINDOW_BYTES_MAX } from './frames/frame-type.ts'
import type { PeerSettings } from './frames/settings.ts'
import type { HeaderField } from './header-field.ts'
import { HpackEncoder } from './hpack/encoder.ts'
import type { Http2Io } from './io.ts'
import type { Http2Limits } from './limits.ts'
import type { SendSide } from './send-side.ts'
import type { Flushable, TurnScheduler } from './turn-scheduler.ts'
import { UnsentAnswers } from './unsent-answers.ts'

/** What the sending half of a connection works with. */
export interface OutboundOptions {
  readonly io: Http2Io
  readonly scheduler: TurnScheduler
  readonly peer: PeerSettings
  readonly limits: Http2Limits
}

/**
 * The sending half of a connection: encodes heads, cuts DATA by windows and frame size, shares the connection window
 * fairly (one frame per stream and round), and leaves one write per turn.
 *
 * HEADERS and control frames always go out; DATA waits in its stream while the socket has enough to do.
 */
export class Outbound implements Flushable {
  readonly output: FrameOutput
  readonly #io: Http2Io
  readonly #scheduler: TurnScheduler
  readonly #peer: PeerSettings
  readonly #limits: Http2Limits
  readonly #encoder: HpackEncoder
  /** Streams with something to send and a window to send it in, in turn. */
  #ready: SendSide[] = []
  #isPumping = false
  #isScheduled = false
  #isClosed = false
  /** Unsent octets in the socket when we last looked. */
  #socketBytes = 0
  #givenBytes = 0
  #watchedTakenBytes = 0
  window: number = INITIAL_WINDOW_BYTES
  /** Acknowledgements and resets that have not left. */
  readonly unsentControlFrames: UnsentAnswers = new UnsentAnswers()
  /** Streams that ended here and, for all the peer can know, are still open. */
  readonly unsentEnds: UnsentAnswers = new UnsentAnswers()

  constructor(options: OutboundOptions) {
    this.#io = options.io
    this.#scheduler = options.scheduler
    this.#peer = options.peer
    this.#limits = options.limits
    this.output = new FrameOutput(options.scheduler)
    this.#encoder = new HpackEncoder(options.limits.encoderTableBytesMax)
  }

  /** Octets not taken by the kernel. */
  get unsentBytes(): number {
    return this.output.length + this.#socketBytes
  }

  /** Sees to it that what was written leaves at the end of the turn. */
  schedule(): void {
    if (this.#isScheduled || this.#isClosed) return
    this.#isScheduled = true
    this.#scheduler.add(this)
  }

  flush(): void {
    this.#isScheduled = false
    if (this.#isClosed) return
    const chunks = this.output.take()
    if (chunks.length > 0) {
      this.#givenBytes += this.output.length
      const slabs = this.output.slabs
      const isCopied = this.#io.write(chunks, () => this.#scheduler.giveSlabs(slabs))
      this.output.clear()
      if (isCopied) this.#scheduler.giveSlabs(slabs)
      this.#noteSocket(isCopied ? 0 : this.#io.writableLength)
    }
    if (this.#ready.length > 0 && !this.#isCongested()) this.pump()
  }

  /** The socket took everything. */
  drained(): void {
    this.#noteSocket(0)
    this.pump()
  }

  /** The connection is over: nothing more is written. */
  close(): void {
    this.#isClosed = true
    this.output.clear()
    this.#ready = []
  }

  /** True when unsent octets made no progress since the last call. */
  isStalled(): boolean {
    const taken = this.#givenBytes - this.#io.writableLength
    const isStalled = this.#io.writableLength > 0 && taken === this.#watchedTakenBytes
    this.#watchedTakenBytes = taken
    return isStalled
  }

  applyPeerSettings(): void {
    this.#encoder.resize(this.#peer.headerTableBytes)
  }

  /** False when the connection's window would overflow. */
  widen(increment: number): boolean {
    this.window += increment
    if (this.window > WINDOW_BYTES_MAX) return false
    this.pump()
    return true
  }

  /** A stream's window grew (or its peer's initial window changed). */
  widenStream(side: SendSide, increment: number): boolean {
    side.window += increment
    if (side.window > WINDOW_BYTES_MAX) return false
    this.#list(side)
    this.pump()
    return true
  }

  sendHeaders(streamId: number, fields: readonly HeaderField[], isEnd: boolean): void {
    const bound = HpackEncoder.boundOf(fields)
    const endFlag = isEnd ? Flag.END_STREAM : 0
    const { output } = this
    this.schedule()
    if (bound <= this.#peer.frameBytesMax) {
      output.reserve(FRAME_HEADER_BYTES + bound)
      const start = output.offset + FRAME_HEADER_BYTES
      const end = this.#encoder.encode(fields, output.memory, start)
      output.frameAround(end - start, FrameType.HEADERS, Flag.END_HEADERS | endFlag, streamId)
      return
    }
    const block = Buffer.allocUnsafe(bound)
    const length = this.#encoder.encode(fields, block, 0)
    this.#sendLongBlock(streamId, block.subarray(0, length), endFlag)
  }

  /** False: wait for `onSendDrained`. */
  sendData(side: SendSide, bytes: Buffer, start: number, end: number): boolean {
    let pos = start
    if (side.bytes === 0) {
      while (pos < end) {
        const room = this.#roomFor(side)
        if (room <= 0) break
        const stop = Math.min(end, pos + room)
        this.#writeData(side, bytes, pos, stop)
        pos = stop
      }
    }
    if (pos < end) side.push(bytes, pos, end)
    if (side.bytes === 0 && !this.#isCongested()) return true
    side.owesDrain = true
    this.#list(side)
    return false
  }

  /** Ends the stream behind what waits. */
  endData(side: SendSide, trailers: readonly HeaderField[] | null): void {
    side.isEnding = true
    side.trailers = trailers
    if (side.bytes === 0) this.#finish(side)
  }

  /** Sends what windows and the socket allow. */
  pump(): void {
    if (this.#isPumping || this.#isClosed) return
    this.#isPumping = true
    while (this.#ready.length > 0 && !this.#isClosed) {
      if (this.#isCongested() || (this.window <= 0 && this.#allHaveData())) break
      const round = this.#ready
      this.#ready = []
      for (const side of round) this.#sendOne(side)
    }
    this.#isPumping = false
  }

  #allHaveData(): boolean {
    return this.#ready.every(side => side.bytes > 0)
  }

  /** One frame of one stream, or word that nothing waits any more. */
  #sendOne(side: SendSide): void {
    side.isListed = false
    if (side.isOver) return
    if (side.bytes > 0) {
      const room = this.#roomFor(side)
      if (room > 0) side.shift(room, (bytes, start, end) => this.#writeData(side, bytes, start, end))
    }
    if (side.bytes > 0) {
      this.#list(side)
      return
    }
    if (side.isEnding) this.#finish(side)
    else if (side.owesDrain && this.#isCongested()) this.#list(side)
    else if (side.owesDrain) {
      side.owesDrain = false
      side.owner.onSendDrained()
    }
  }

  #finish(side: SendSide): void {
    const { trailers } = side
    side.close()
    this.unsentEnds.add()
    if (trailers !== null) this.sendHeaders(side.streamId, trailers, true)
    else this.output.writeEndStream(side.streamId)
    this.schedule()
    side.owner.onSendEnded()
  }

  #writeData(side: SendSide, bytes: Buffer, start: number, end: number): void {
    this.output.writeData(side.streamId, bytes, start, end)
    side.window -= end - start
    side.sentBytes += end - start
    this.window -= end - start
    this.schedule()
  }

  #roomFor(side: SendSide): number {
    if (this.#isCongested()) return 0
    return Math.min(side.window, this.window, this.#peer.frameBytesMax, this.#limits.frameBytesMax)
  }

  /** A stream whose own window is shut comes back when it opens. */
  #list(side: SendSide): void {
    if (side.isListed || side.isOver || (side.bytes > 0 && side.window <= 0)) return
    if (side.bytes === 0 && !side.owesDrain) return
    side.isListed = true
    this.#ready.push(side)
    this.schedule()
  }

  #isCongested(): boolean {
    return this.unsentBytes > this.#limits.outputBytesMax
  }

  #noteSocket(bytes: number): void {
    this.#socketBytes = bytes
    const takenBytes = this.#givenBytes - bytes
    this.unsentControlFrames.settle(takenBytes, this.#givenBytes)
    this.unsentEnds.settle(takenBytes, this.#givenBytes)
  }

  #sendLongBlock(streamId: number, block: Buffer, endFlag: number): void {
    const { output } = this
    const frameBytesMax = Math.min(this.#peer.frameBytesMax, this.#limits.frameBytesMax)
    for (let start = 0; start === 0 || start < block.length; start += frameBytesMax) {
      const end = Math.min(block.length, start + frameBytesMax)
      const type = start === 0 ? FrameType.HEADERS : FrameType.CONTINUATION
      const flags = (end === block.length ? Flag.END_HEADERS : 0) | (start === 0 ? endFlag : 0)
      output.reserve(FRAME_HEADER_BYTES + end - start)
      output.writeHeader(end - start, type, flags, streamId)
      output.writeRaw(block.subarray(start, end))
    }
  }
}
