import type { ClosedStreams } from './closed-streams.ts'
import { Ended } from './closed-streams.ts'
import { ErrorCode } from './error-code.ts'
import type { FloodKind } from './flood-guard.ts'
import type { FrameHandler } from './frames/frame-reader.ts'
import type { FrameFault, FrameHeader } from './frames/frame-rules.ts'
import { Flag, FrameType } from './frames/frame-type.ts'
import type { HeaderField } from './header-field.ts'
import { HpackDecoder } from './hpack/decoder.ts'
import type { Http2Limits } from './limits.ts'
import { ReceiveWindow } from './receive-window.ts'
import type { Http2Stream } from './stream.ts'

/** What the receiving half tells its connection. */
export interface InboundOwner {
  readonly role: 'server' | 'client'
  readonly limits: Http2Limits
  readonly closedStreams: ClosedStreams
  streamOf(streamId: number): Http2Stream | undefined
  /** Never used yet, by either side. */
  isIdle(streamId: number): boolean
  /** Fields of a new stream of the peer's; null when the list was too long. */
  onPeerStream(streamId: number, fields: readonly HeaderField[] | null, isEnd: boolean): void
  /** Fields on a stream in the table; null when the list was too long. */
  onStreamFields(stream: Http2Stream, fields: readonly HeaderField[] | null, isEnd: boolean): void
  onPeerReset(stream: Http2Stream, code: number): void
  onSettings(bytes: Buffer, start: number, end: number): void
  onSettingsAck(): void
  onPing(isAck: boolean, bytes: Buffer, start: number): void
  onGoaway(lastStreamId: number, code: number, debug: string): void
  onWindowUpdate(streamId: number, increment: number): void
  onBlockPending(isPending: boolean): void
  allows(kind: FloodKind): boolean
  writeConnectionWindow(increment: number): void
  resetStream(streamId: number, code: number, detail: string): void
  fail(code: number, detail: string): void
}

const DEBUG_BYTES_MAX = 256

/** The receiving half of a connection: gives frames their meaning and keeps the rules between frames. */
export class Inbound implements FrameHandler {
  readonly #owner: InboundOwner
  readonly #decoder: HpackDecoder
  readonly #window: ReceiveWindow
  #hasSettings = false
  /** Field block that waits for CONTINUATION: its stream, or 0. */
  #blockStreamId = 0
  #isBlockEnd = false
  #block: Buffer[] = []
  #blockBytes = 0
  #continuations = 0
  /** Stream of the DATA frame being read, or null when its bytes go nowhere. */
  #dataStream: Http2Stream | null = null
  /** Octets of that frame told so far; the rest is padding. */
  #dataBytes = 0

  constructor(owner: InboundOwner) {
    const { limits } = owner
    this.#owner = owner
    this.#window = new ReceiveWindow(limits.connectionWindowBytes)
    this.#decoder = new HpackDecoder({
      tableBytes: limits.decoderTableBytes,
      listBytesMax: limits.headerListBytesMax,
      fieldsMax: limits.headerFieldsMax,
    })
  }

  get hasSettings(): boolean {
    return this.#hasSettings
  }

  /** Octets that nobody has to keep any more. */
  credit(bytes: number): void {
    const increment = this.#window.credit(bytes)
    if (increment > 0) this.#owner.writeConnectionWindow(increment)
  }

  onFrameHeader(header: FrameHeader): boolean {
    const { type, streamId } = header
    if (!this.#hasSettings) {
      if (type !== FrameType.SETTINGS || (header.flags & Flag.ACK) !== 0) {
        return this.#refuse(ErrorCode.PROTOCOL_ERROR, 'the first frame is not SETTINGS')
      }
      this.#hasSettings = true
    }
    if (this.#blockStreamId !== 0 && (type !== FrameType.CONTINUATION || streamId !== this.#blockStreamId)) {
      return this.#refuse(ErrorCode.PROTOCOL_ERROR, 'another frame inside a field block')
    }
    return type === FrameType.DATA ? this.#beginData(header) : true
  }

  onFault(fault: FrameFault, streamId: number): void {
    if (fault.scope === 'connection') this.#owner.fail(fault.code, fault.detail)
    else this.#faultOnStream(streamId, fault.code, fault.detail)
  }

  /** A flat switch over the protocol. */
  onFrame(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    const { type, flags, streamId } = header
    const isAck = (flags & Flag.ACK) !== 0
    switch (type) {
      case FrameType.HEADERS:
        this.#onHeaders(header, bytes, start, end)
        return
      case FrameType.CONTINUATION:
        this.#onContinuation(header, bytes, start, end)
        return
      case FrameType.WINDOW_UPDATE:
        this.#onWindowUpdate(streamId, bytes.readUInt32BE(start) & 0x7fffffff)
        return
      case FrameType.RST_STREAM:
        this.#onReset(streamId, bytes.readUInt32BE(start))
        return
      case FrameType.SETTINGS:
        if (!this.#allows('settings')) return
        if (isAck) this.#owner.onSettingsAck()
        else this.#owner.onSettings(bytes, start, end)
        return
      case FrameType.PING:
        if (this.#allows('ping')) this.#owner.onPing(isAck, bytes, start)
        return
      case FrameType.GOAWAY:
        this.#onGoaway(bytes, start, end)
        return
      case FrameType.PUSH_PROMISE:
        this.#refuse(ErrorCode.PROTOCOL_ERROR, 'PUSH_PROMISE though push is off')
        return
      default:
        // PRIORITY and what we do not know (RFC 9113 §5.3.2 and §5.5).
        this.#allows('ignored')
    }
  }

  onDataBytes(bytes: Buffer, start: number, end: number): void {
    const stream = this.#dataStream
    this.#dataBytes += end - start
    if (stream === null || stream.isOver) this.credit(end - start)
    else stream.receiveData(bytes, start, end)
  }

  onDataEnd(header: FrameHeader): void {
    const stream = this.#dataStream
    this.#dataStream = null
    const isEnd = (header.flags & Flag.END_STREAM) !== 0
    if (this.#dataBytes === 0 && !isEnd && !this.#allows('empty-data')) return
    const paddingBytes = header.length - this.#dataBytes
    if (paddingBytes > 0) {
      this.credit(paddingBytes)
      stream?.creditUnseen(paddingBytes)
    }
    if (isEnd && stream !== null && !stream.isOver) stream.receiveEnd(null)
  }

  /** Flow control counts the whole payload, padding included, at once. */
  #beginData(header: FrameHeader): boolean {
    const { streamId, length } = header
    const stream = this.#owner.streamOf(streamId)
    this.#dataStream = null
    this.#dataBytes = 0
    if (!this.#window.take(length)) {
      return this.#refuse(ErrorCode.FLOW_CONTROL_ERROR, 'DATA beyond the window of the connection')
    }
    if (stream === undefined) return this.#dataWithoutStream(streamId)
    if (stream.isRemoteEnded) {
      this.#faultOnStream(streamId, ErrorCode.STREAM_CLOSED, 'DATA behind END_STREAM')
    } else if (!stream.hasHead) {
      this.#faultOnStream(streamId, ErrorCode.PROTOCOL_ERROR, 'DATA before the response head')
    } else if (!stream.takeWindow(length)) {
      this.#faultOnStream(streamId, ErrorCode.FLOW_CONTROL_ERROR, 'DATA beyond the window of its stream')
    } else {
      this.#dataStream = stream
    }
    return true
  }

  #dataWithoutStream(streamId: number): boolean {
    if (this.#owner.isIdle(streamId)) return this.#refuse(ErrorCode.PROTOCOL_ERROR, 'DATA on an idle stream')
    const how = this.#owner.closedStreams.howEnded(streamId)
    if (how === Ended.BY_PEER) return this.#refuse(ErrorCode.STREAM_CLOSED, 'DATA on a closed stream')
    // What was under way when we reset the stream is no flood: windows bound it.
    return how === Ended.BY_US || this.#allows('ignored')
  }

  #onHeaders(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    const { flags, streamId } = header
    let from = start
    let to = end
    if ((flags & Flag.PADDED) !== 0) {
      to -= bytes[from]!
      from += 1
    }
    if ((flags & Flag.PRIORITY) !== 0) from += 5
    if (from > to) {
      this.#refuse(ErrorCode.PROTOCOL_ERROR, 'padding longer than the frame')
      return
    }
    const isEnd = (flags & Flag.END_STREAM) !== 0
    if ((flags & Flag.END_HEADERS) !== 0) {
      this.#onBlock(streamId, isEnd, bytes, from, to)
      return
    }
    this.#blockStreamId = streamId
    this.#isBlockEnd = isEnd
    this.#continuations = 0
    this.#blockBytes = 0
    this.#gather(bytes, from, to)
    this.#owner.onBlockPending(true)
  }

  #onContinuation(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    if (this.#blockStreamId === 0) {
      this.#refuse(ErrorCode.PROTOCOL_ERROR, 'CONTINUATION without HEADERS')
      return
    }
    this.#continuations += 1
    const { continuationFramesMax, headerBlockBytesMax } = this.#owner.limits
    if (this.#continuations > continuationFramesMax || this.#blockBytes + end - start > headerBlockBytesMax) {
      this.#refuse(ErrorCode.ENHANCE_YOUR_CALM, 'field block too long')
      return
    }
    this.#gather(bytes, start, end)
    if ((header.flags & Flag.END_HEADERS) === 0) return
    const block = Buffer.concat(this.#block)
    const streamId = this.#blockStreamId
    this.#block = []
    this.#blockStreamId = 0
    this.#owner.onBlockPending(false)
    this.#onBlock(streamId, this.#isBlockEnd, block, 0, block.length)
  }

  #gather(bytes: Buffer, start: number, end: number): void {
    this.#block.push(Buffer.from(bytes.subarray(start, end)))
    this.#blockBytes += end - start
  }

  /** A whole field block. It is decoded whatever becomes of it: the table must follow the peer's. */
  #onBlock(streamId: number, isEnd: boolean, bytes: Buffer, start: number, end: number): void {
    const owner = this.#owner
    const decoded = this.#decoder.decode(bytes, start, end)
    if (decoded === null) {
      this.#refuse(ErrorCode.COMPRESSION_ERROR, this.#decoder.error)
      return
    }
    const fields = this.#decoder.isOversized ? null : decoded
    const stream = owner.streamOf(streamId)
    if (stream !== undefined) {
      if (stream.isRemoteEnded) this.#faultOnStream(streamId, ErrorCode.STREAM_CLOSED, 'HEADERS behind END_STREAM')
      else owner.onStreamFields(stream, fields, isEnd)
      return
    }
    const isPeers = owner.role === 'server' && (streamId & 1) === 1
    if (owner.isIdle(streamId)) {
      if (isPeers) owner.onPeerStream(streamId, fields, isEnd)
      else this.#refuse(ErrorCode.PROTOCOL_ERROR, 'HEADERS on a stream the peer may not open')
      return
    }
    const how = owner.closedStreams.howEnded(streamId)
    if (how === Ended.BY_US) return
    if (how === Ended.BY_PEER) this.#refuse(ErrorCode.STREAM_CLOSED, 'HEADERS on a closed stream')
    else this.#refuse(ErrorCode.PROTOCOL_ERROR, 'HEADERS on an old stream')
  }

  #onWindowUpdate(streamId: number, increment: number): void {
    if (!this.#allows('window-update')) return
    if (streamId !== 0 && this.#owner.isIdle(streamId)) {
      this.#refuse(ErrorCode.PROTOCOL_ERROR, 'WINDOW_UPDATE on an idle stream')
    } else if (increment > 0) {
      this.#owner.onWindowUpdate(streamId, increment)
    } else if (streamId === 0) {
      this.#refuse(ErrorCode.PROTOCOL_ERROR, 'WINDOW_UPDATE of 0')
    } else {
      this.#faultOnStream(streamId, ErrorCode.PROTOCOL_ERROR, 'WINDOW_UPDATE of 0')
    }
  }

  #onReset(streamId: number, code: number): void {
    if (this.#owner.isIdle(streamId)) {
      this.#refuse(ErrorCode.PROTOCOL_ERROR, 'RST_STREAM on an idle stream')
      return
    }
    const stream = this.#owner.streamOf(streamId)
    if (stream !== undefined) this.#owner.onPeerReset(stream, code)
    else this.#allows('ignored')
  }

  #onGoaway(bytes: Buffer, start: number, end: number): void {
    const debug = bytes.toString('latin1', start + 8, Math.min(end, start + 8 + DEBUG_BYTES_MAX))
    this.#owner.onGoaway(bytes.readUInt32BE(start) & 0x7fffffff, bytes.readUInt32BE(start + 4), debug)
  }

  /** A stream error; on a stream that is gone already there is nothing left to reset. */
  #faultOnStream(streamId: number, code: number, detail: string): void {
    if (this.#owner.streamOf(streamId) !== undefined) this.#owner.resetStream(streamId, code, detail)
    else this.#allows('ignored')
  }

  #allows(kind: FloodKind): boolean {
    return this.#owner.allows(kind) || this.#refuse(ErrorCode.ENHANCE_YOUR_CALM, `too many frames: ${kind}`)
  }

  #refuse(code: number, detail: string): false {
    this.#owner.fail(code, detail)
    return false
  }
}
