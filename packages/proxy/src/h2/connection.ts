import { ClosedStreams, Ended } from './closed-streams.ts'
import { ConnectionTimer } from './connection-timer.ts'
import { ErrorCode, errorCodeName } from './error-code.ts'
import { FloodGuard, type FloodKind } from './flood-guard.ts'
import { FrameReader } from './frames/frame-reader.ts'
import { INITIAL_WINDOW_BYTES, PREFACE } from './frames/frame-type.ts'
import { PeerSettings, SettingId } from './frames/settings.ts'
import { findTrailersFault, type HeadFault, readRequestHead, readResponseHead } from './head-rules.ts'
import { HeaderField } from './header-field.ts'
import { Inbound, type InboundOwner } from './inbound.ts'
import type { Http2Clock, Http2Io } from './io.ts'
import { DEFAULT_HTTP2_LIMITS, type Http2Limits } from './limits.ts'
import { Outbound } from './outbound.ts'
import { Http2RequestHead } from './request-head.ts'
import { Http2Stream, type Http2StreamHandler, type StreamHost, type StreamReset } from './stream.ts'
import { StreamTable } from './stream-table.ts'
import type { TurnScheduler } from './turn-scheduler.ts'

/** How a connection ended. `code` is NO_ERROR for an orderly end. */
export interface Http2ConnectionEnd {
  readonly by: 'us' | 'peer' | 'transport'
  readonly code: number
  readonly detail: string
}

/** Who owns a connection. */
export interface Http2ConnectionOwner {
  /** A valid request (server role); answers who listens to its stream. Called synchronously, in order. */
  onRequest(stream: Http2Stream, isEnd: boolean): Http2StreamHandler
  /** A request that the engine refused itself: `status` 0 is a reset, else an answer (server role). */
  onRefused(status: number, detail: string): void
  /** More streams may be opened than before, or no more at all: look at `canRequest` (client role). */
  onCapacity(): void
  /** Called once; after it nothing happens on the connection. */
  onClosed(end: Http2ConnectionEnd): void
}

/** What a connection is made of. */
export interface Http2ConnectionOptions {
  readonly role: 'server' | 'client'
  readonly io: Http2Io
  readonly clock: Http2Clock
  readonly scheduler: TurnScheduler
  readonly owner: Http2ConnectionOwner
  readonly limits?: Partial<Http2Limits>
  /** Announce RFC 8441 (server role). */
  readonly allowsConnectProtocol?: boolean
}

const LAST_STREAM_ID = 0x7fffffff
/** What a server that has not spoken yet is trusted with: the least that RFC 9113 §6.5.2 recommends. */
const STREAMS_BEFORE_SETTINGS_MAX = 100
/** Payload of the PING between the two GOAWAY frames. */
const DRAIN_PING = Buffer.from('wtrdrain', 'latin1')
const NO_HANDLER: Http2StreamHandler = {
  onHead() {},
  onInterim() {},
  onData() {},
  onTrailers() {},
  onEnd() {},
  onReset() {},
  onDrain() {},
}
const Draining = { NO: 0, ANNOUNCED: 1, FINAL: 2 } as const

/** One HTTP/2 connection, in either role: bytes in by `receive`, bytes out through the `Http2Io`. */
export class Http2Connection implements InboundOwner, StreamHost {
  readonly role: 'server' | 'client'
  readonly limits: Http2Limits
  readonly closedStreams: ClosedStreams = new ClosedStreams()
  readonly outbound: Outbound
  readonly #io: Http2Io
  readonly #owner: Http2ConnectionOwner
  readonly #peer: PeerSettings
  readonly #reader: FrameReader
  readonly #inbound: Inbound
  readonly #guard: FloodGuard
  readonly #timer: ConnectionTimer
  readonly #streams = new StreamTable()
  readonly #allowsConnectProtocol: boolean
  #lastPeerStreamId = 0
  /** The highest that may have had an effect: GOAWAY's last stream. */
  #lastProcessedId = 0
  #nextStreamId = 1
  #unackedSettings = 0
  #draining: number = Draining.NO
  #hasPeerGoaway = false
  #isOver = false
  #heldBytes = 0
  #uncreditedBytes = 0

  constructor(options: Http2ConnectionOptions) {
    const { role, io, scheduler } = options
    const isServer = role === 'server'
    this.role = role
    this.limits = { ...DEFAULT_HTTP2_LIMITS, ...options.limits }
    this.#io = io
    this.#owner = options.owner
    this.#allowsConnectProtocol = isServer && options.allowsConnectProtocol === true
    this.#peer = new PeerSettings({ isPeerServer: !isServer })
    this.outbound = new Outbound({ io, scheduler, peer: this.#peer, limits: this.limits })
    this.#guard = new FloodGuard(this.limits, () => options.clock.nowMs())
    this.#inbound = new Inbound(this)
    this.#reader = new FrameReader(this.#inbound, {
      frameBytesMax: this.limits.frameBytesMax,
      expectsPreface: isServer,
    })
    this.#timer = new ConnectionTimer(options.clock, this.limits, this)
  }

  get isOver(): boolean {
    return this.#isOver
  }

  get streamCount(): number {
    return this.#streams.size
  }

  /** The open streams of this moment. */
  get streams(): readonly Http2Stream[] {
    return this.#streams.snapshot()
  }

  get streamWindowBytes(): number {
    return this.limits.streamWindowBytes
  }

  get sendQueueBytesMax(): number {
    return this.limits.sendQueueBytesMax
  }

  get peerInitialWindowBytes(): number {
    return this.#peer.initialWindowBytes
  }

  /** Octets of request or response bodies that paused streams hold. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /** The peer speaks RFC 8441 (client role). */
  get peerAllowsConnectProtocol(): boolean {
    return this.#peer.allowsConnectProtocol
  }

  /** The peer's first SETTINGS came: what it allows is known. */
  get hasPeerSettings(): boolean {
    return this.#inbound.hasSettings
  }

  /** `request` would open a stream now (client role). */
  get canRequest(): boolean {
    if (this.#isOver || this.#hasPeerGoaway || this.#draining !== Draining.NO) return false
    const { concurrentStreamsMax } = this.#peer
    const streamsMax = this.#inbound.hasSettings ? concurrentStreamsMax : STREAMS_BEFORE_SETTINGS_MAX
    return this.#streams.size < streamsMax && this.#nextStreamId <= LAST_STREAM_ID
  }

  /** No stream will be opened on it any more. */
  get isClosing(): boolean {
    return this.#isOver || this.#hasPeerGoaway || this.#draining !== Draining.NO
  }

  /** Says hello; call once, before anything else. */
  start(): void {
    const { limits } = this
    const { output } = this.outbound
    if (this.role === 'client') output.writeRaw(PREFACE)
    output.writeSettings([
      ...(limits.decoderTableBytes === 4096 ? [] : [[SettingId.HEADER_TABLE_SIZE, limits.decoderTableBytes] as const]),
      ...(this.role === 'client' ? [[SettingId.ENABLE_PUSH, 0] as const] : []),
      [SettingId.MAX_CONCURRENT_STREAMS, limits.concurrentStreamsMax],
      [SettingId.INITIAL_WINDOW_SIZE, limits.streamWindowBytes],
      ...(limits.frameBytesMax === 16_384 ? [] : [[SettingId.MAX_FRAME_SIZE, limits.frameBytesMax] as const]),
      [SettingId.MAX_HEADER_LIST_SIZE, limits.headerListBytesMax],
      ...(this.#allowsConnectProtocol ? [[SettingId.ENABLE_CONNECT_PROTOCOL, 1] as const] : []),
    ])
    this.#unackedSettings += 1
    const widening = limits.connectionWindowBytes - INITIAL_WINDOW_BYTES
    if (widening > 0) output.writeWindowUpdate(0, widening)
    this.outbound.schedule()
    this.#timer.start()
  }

  /** Bytes came in; the range may be used again when the call returns. */
  receive(bytes: Buffer, start: number, end: number): void {
    if (this.#isOver) return
    this.#reader.push(bytes, start, end)
    if (this.outbound.unsentControlFrames.count > this.limits.unsentControlFramesMax) {
      this.fail(ErrorCode.ENHANCE_YOUR_CALM, 'the peer does not read our answers')
    }
  }

  /** The transport took all that was written. */
  drained(): void {
    if (!this.#isOver) this.outbound.drained()
  }

  /** The transport ended (FIN, error, close). */
  transportClosed(detail: string): void {
    this.#timer.release()
    if (this.#isOver) return
    this.#io.destroy()
    this.#finish({ by: 'transport', code: ErrorCode.NO_ERROR, detail })
  }

  /**
   * Opens a stream (client role), or null when `canRequest` is false.
   *
   * @throws {WaiterError} WTR_BAD_HEADER when a field breaks a rule; nothing was sent
   */
  request(fields: readonly HeaderField[], isEnd: boolean, handler: Http2StreamHandler): Http2Stream | null {
    if (!this.canRequest) return null
    const stream = new Http2Stream(this, this.#nextStreamId, null, handler)
    stream.isHeadRequest = fields.some(field => field.name === ':method' && field.value === 'HEAD')
    stream.sendHead(fields, isEnd)
    this.#nextStreamId += 2
    this.#streams.add(stream)
    this.#timer.onStreamsChanged(this.#streams.size)
    return stream
  }

  /**
   * Drains: streams under way finish, new ones are refused, then the connection closes. A server first announces it and
   * waits for the peer to have seen that (RFC 9113 §6.8), so that no request is lost in between.
   */
  shutdown(): void {
    if (this.#isOver || this.#draining !== Draining.NO) return
    const { output } = this.outbound
    if (this.role === 'client') {
      this.#drainFinally()
      return
    }
    this.#draining = Draining.ANNOUNCED
    output.writeGoaway(LAST_STREAM_ID, ErrorCode.NO_ERROR, '')
    output.writePing(false, DRAIN_PING, 0)
    this.outbound.schedule()
    this.#timer.onDrainAnnounced()
  }

  /** Cuts the connection at once, without a word. */
  destroy(detail: string): void {
    if (this.#isOver) return
    this.#io.destroy()
    this.#timer.release()
    this.#finish({ by: 'us', code: ErrorCode.CANCEL, detail })
  }

  // Told by the timer.

  onHandshakeTimeout(): void {
    this.fail(ErrorCode.SETTINGS_TIMEOUT, 'no SETTINGS or no acknowledgement in time')
  }

  onBlockTimeout(): void {
    this.fail(ErrorCode.ENHANCE_YOUR_CALM, 'the field block took too long')
  }

  onIdleTimeout(): void {
    this.shutdown()
  }

  /** Time to look whether anything that waits makes progress. */
  onWatch(): void {
    if (this.outbound.isStalled()) {
      this.destroy('the peer takes no bytes')
      return
    }
    for (const stream of this.#streams.snapshot()) {
      const { sending } = stream
      const isStalled = sending.bytes > 0 && sending.watchedBytes === sending.sentBytes
      sending.watchedBytes = sending.bytes > 0 ? sending.sentBytes : -1
      if (!isStalled) continue
      const detail = 'the peer opens no window'
      stream.abort({ cause: 'stalled', code: ErrorCode.CANCEL, detail, isUnprocessed: false })
    }
  }

  onDrainGraceOver(): void {
    this.#drainFinally()
  }

  onLingerOver(): void {
    this.#timer.release()
    this.#io.destroy()
  }

  // Told by the receiving half.

  streamOf(streamId: number): Http2Stream | undefined {
    return this.#streams.get(streamId)
  }

  isIdle(streamId: number): boolean {
    const isOurs = (streamId & 1) === (this.role === 'client' ? 1 : 0)
    if (!isOurs) return streamId > this.#lastPeerStreamId
    return this.role === 'server' || streamId >= this.#nextStreamId
  }

  onPeerStream(streamId: number, fields: readonly HeaderField[] | null, isEnd: boolean): void {
    this.#lastPeerStreamId = streamId
    if (this.#draining === Draining.FINAL) {
      // Our last GOAWAY tells that it is not processed; the peer sends it elsewhere.
      this.closedStreams.record(streamId, Ended.BY_US)
      return
    }
    this.#lastProcessedId = streamId
    const { concurrentStreamsMax, targetBytesMax } = this.limits
    if (this.#streams.size >= concurrentStreamsMax || this.outbound.unsentEnds.count > 4 * concurrentStreamsMax) {
      this.#refuseStream(streamId, ErrorCode.REFUSED_STREAM, 'too many streams')
      return
    }
    if (fields === null) {
      this.#answer(streamId, new Http2RequestHead([]), isEnd, { status: 431, detail: 'the head is too large' })
      return
    }
    const allowsConnectProtocol = this.#allowsConnectProtocol
    const head = readRequestHead(fields, { targetBytesMax, allowsConnectProtocol, isEnd })
    if (!(head instanceof Http2RequestHead)) {
      if (head.status === 0) this.#refuseStream(streamId, ErrorCode.PROTOCOL_ERROR, head.detail)
      else this.#answer(streamId, new Http2RequestHead(fields), isEnd, head)
      return
    }
    const stream = this.#addPeerStream(streamId, head, isEnd)
    stream.handler = this.#owner.onRequest(stream, isEnd)
    if (isEnd && !stream.isOver) stream.receiveEnd(null)
  }

  onStreamFields(stream: Http2Stream, fields: readonly HeaderField[] | null, isEnd: boolean): void {
    if (fields === null) {
      this.#malformed(stream, 'the head is too large')
    } else if (stream.hasHead) {
      const fault = isEnd ? findTrailersFault(fields) : 'HEADERS without END_STREAM behind the head'
      if (fault !== '') this.#malformed(stream, fault)
      else stream.receiveEnd(fields)
    } else {
      this.#onResponse(stream, fields, isEnd)
    }
  }

  onPeerReset(stream: Http2Stream, code: number): void {
    if (this.role === 'server' && !this.allows('reset')) {
      this.fail(ErrorCode.ENHANCE_YOUR_CALM, 'too many streams cancelled')
      return
    }
    if (this.role === 'client' && code === ErrorCode.NO_ERROR && stream.isRemoteEnded) {
      stream.stopSending()
      return
    }
    const isUnprocessed = this.role === 'client' && code === ErrorCode.REFUSED_STREAM
    stream.abort({ cause: 'peer', code, detail: `the peer reset the stream: ${errorCodeName(code)}`, isUnprocessed })
  }

  onSettings(bytes: Buffer, start: number, end: number): void {
    const before = this.#peer.initialWindowBytes
    const fault = this.#peer.apply(bytes, start, end)
    if (fault !== null) {
      this.fail(fault.code, fault.detail)
      return
    }
    this.outbound.applyPeerSettings()
    const change = this.#peer.initialWindowBytes - before
    if (change !== 0 && !this.#changeWindows(change)) return
    this.outbound.output.writeSettingsAck()
    this.#noteControlFrame()
    this.#owner.onCapacity()
  }

  onSettingsAck(): void {
    if (this.#unackedSettings === 0) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'acknowledgement of SETTINGS that were not sent')
      return
    }
    this.#unackedSettings -= 1
    this.#timer.onHandshakeDone(this.#streams.size)
  }

  onPing(isAck: boolean, bytes: Buffer, start: number): void {
    if (!isAck) {
      this.outbound.output.writePing(true, bytes, start)
      this.#noteControlFrame()
    } else if (this.#draining === Draining.ANNOUNCED && DRAIN_PING.compare(bytes, start, start + 8) === 0) {
      this.#drainFinally()
    }
  }

  onGoaway(lastStreamId: number, code: number, debug: string): void {
    this.#hasPeerGoaway = true
    const detail = `the peer goes away: ${errorCodeName(code)} ${debug}`.trimEnd()
    if (this.role === 'client') {
      for (const stream of this.#streams.snapshot()) {
        if (stream.id > lastStreamId) stream.abort({ cause: 'peer', code, detail, isUnprocessed: true })
      }
    }
    if (this.#isOver) return
    this.#owner.onCapacity()
    this.#closeIfDone()
  }

  onWindowUpdate(streamId: number, increment: number): void {
    if (streamId === 0) {
      if (!this.outbound.widen(increment)) this.fail(ErrorCode.FLOW_CONTROL_ERROR, 'window beyond 2^31-1')
      return
    }
    const stream = this.#streams.get(streamId)
    if (stream === undefined || this.outbound.widenStream(stream.sending, increment)) return
    this.resetStream(streamId, ErrorCode.FLOW_CONTROL_ERROR, 'window beyond 2^31-1')
  }

  onBlockPending(isPending: boolean): void {
    this.#timer.onBlockPending(isPending, this.#streams.size)
  }

  allows(kind: FloodKind): boolean {
    return this.#guard.allows(kind)
  }

  writeConnectionWindow(increment: number): void {
    if (this.#isOver) return
    this.outbound.output.writeWindowUpdate(0, increment)
    this.outbound.schedule()
  }

  /** A stream error by the peer's fault. */
  resetStream(streamId: number, code: number, detail: string): void {
    this.#streams.get(streamId)?.abort({ cause: 'malformed', code, detail, isUnprocessed: false })
    this.#countReset()
  }

  /** A connection error: says why, tells every stream, and closes once that has left. */
  fail(code: number, detail: string): void {
    if (this.#isOver) return
    this.outbound.output.writeGoaway(this.#lastProcessedId, code, detail)
    this.#sayFarewell({ by: 'us', code, detail })
  }

  // Told by streams.

  creditConnection(bytes: number): void {
    this.#inbound.credit(bytes)
  }

  noteHeld(bytes: number): void {
    this.#heldBytes += bytes
    if (bytes > 0) {
      if (this.#heldBytes <= this.limits.receiveBufferBytesMax) this.creditConnection(bytes)
      else this.#uncreditedBytes += bytes
    } else if (this.#uncreditedBytes > 0) {
      const credited = Math.min(this.#uncreditedBytes, -bytes)
      this.#uncreditedBytes -= credited
      this.creditConnection(credited)
    }
  }

  writeReset(streamId: number, code: number): void {
    this.outbound.output.writeReset(streamId, code)
    this.#noteControlFrame()
  }

  onStreamOver(stream: Http2Stream, isResetByUs: boolean): void {
    if (!this.#streams.delete(stream.id)) return
    this.closedStreams.record(stream.id, isResetByUs ? Ended.BY_US : Ended.BY_PEER)
    if (this.#isOver) return
    this.#timer.onStreamsChanged(this.#streams.size)
    if (this.role === 'client') this.#owner.onCapacity()
    this.#closeIfDone()
  }

  #onResponse(stream: Http2Stream, fields: readonly HeaderField[], isEnd: boolean): void {
    const head = readResponseHead(fields, isEnd)
    if (typeof head === 'string') {
      this.#malformed(stream, head)
      return
    }
    if (head.status < 200) {
      stream.interimCount += 1
      if (isEnd) this.#malformed(stream, '1xx response with END_STREAM')
      else if (stream.interimCount > this.limits.interimResponsesMax) this.#malformed(stream, 'too many 1xx responses')
      else stream.handler.onInterim(head)
      return
    }
    stream.receiveResponse(head)
    if (isEnd && !stream.isOver) stream.receiveEnd(null)
  }

  #addPeerStream(streamId: number, head: Http2RequestHead, isEnd: boolean): Http2Stream {
    const stream = new Http2Stream(this, streamId, head, NO_HANDLER)
    // Known at once, so that an answer from within `onRequest` ends the stream instead of resetting it.
    stream.isRemoteEnded = isEnd
    this.#streams.add(stream)
    this.#timer.onStreamsChanged(this.#streams.size)
    return stream
  }

  /** An answer of the engine's own, without a body. */
  #answer(streamId: number, head: Http2RequestHead, isEnd: boolean, fault: HeadFault): void {
    const stream = this.#addPeerStream(streamId, head, isEnd)
    this.#owner.onRefused(fault.status, fault.detail)
    stream.sendHead([new HeaderField(':status', String(fault.status)), new HeaderField('content-length', '0')], true)
  }

  #refuseStream(streamId: number, code: number, detail: string): void {
    this.closedStreams.record(streamId, Ended.BY_US)
    this.#owner.onRefused(0, detail)
    this.writeReset(streamId, code)
    this.#countReset()
  }

  /** A peer that makes us reset stream after stream cancels them as surely as one that does so itself. */
  #countReset(): void {
    if (this.role === 'server' && !this.allows('reset')) {
      this.fail(ErrorCode.ENHANCE_YOUR_CALM, 'too many streams reset')
    }
  }

  #malformed(stream: Http2Stream, detail: string): void {
    this.resetStream(stream.id, ErrorCode.PROTOCOL_ERROR, detail)
  }

  #changeWindows(change: number): boolean {
    for (const { sending } of this.#streams.snapshot()) {
      if (this.outbound.widenStream(sending, change)) continue
      this.fail(ErrorCode.FLOW_CONTROL_ERROR, 'SETTINGS_INITIAL_WINDOW_SIZE makes a window overflow')
      return false
    }
    return true
  }

  #noteControlFrame(): void {
    this.outbound.schedule()
    this.outbound.unsentControlFrames.add()
  }

  #drainFinally(): void {
    if (this.#isOver || this.#draining === Draining.FINAL) return
    this.#draining = Draining.FINAL
    this.outbound.output.writeGoaway(this.#lastProcessedId, ErrorCode.NO_ERROR, '')
    this.outbound.schedule()
    this.#timer.onDrainFinal(this.#streams.size)
    this.#closeIfDone()
  }

  #closeIfDone(): void {
    if (this.#isOver || this.#streams.size > 0) return
    const by = this.#draining === Draining.FINAL ? 'us' : 'peer'
    if (by === 'us' || this.#hasPeerGoaway) this.#sayFarewell({ by, code: ErrorCode.NO_ERROR, detail: 'drained' })
  }

  /** Sends what is written, then FIN; the peer has a while to read it. */
  #sayFarewell(end: Http2ConnectionEnd): void {
    this.#isOver = true
    this.#reader.stop()
    this.outbound.flush()
    this.#io.endWriting()
    this.#timer.onFarewell()
    this.#finish(end)
  }

  #finish(end: Http2ConnectionEnd): void {
    this.#isOver = true
    this.#reader.stop()
    this.outbound.close()
    const reset: StreamReset = { cause: 'connection', code: end.code, detail: end.detail, isUnprocessed: false }
    for (const stream of this.#streams.snapshot()) stream.abort(reset)
    this.#owner.onClosed(end)
  }
}
