import { createHash, randomBytes } from 'node:crypto'
import type { EngineContext } from '../engine-context.ts'
import type { ForwardTarget, HeaderGetter } from '../exchange.ts'
import { Framing } from '../h1/body-decoder.ts'
import { FieldCode } from '../h1/field-table.ts'
import type { ResponseHead } from '../h1/response-head.ts'
import { ErrorCode, type HeaderField, type Http2RequestHead } from '../h2/index.ts'
import type { UpstreamConnection, UpstreamFailure, UpstreamHandler } from '../upstream-connection.ts'
import type { UpstreamPool } from '../upstream-pool.ts'
import { fieldOfLine } from './fields.ts'
import { isWebSocket, type OutgoingRequest, renderHttp1Request, trailerFields } from './request-fields.ts'
import type { RelayFailure, RelayHead, RelayUpstream, RelayUpstreamHandler } from './sides.ts'

/** Up to here text and body go out as one Latin-1 string. */
const TEXT_WRITE_BYTES_MAX = 15 * 1024
/** RFC 6455 §1.3. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** What `Sec-WebSocket-Accept` answers to a key. */
export function webSocketAccept(key: string): string {
  return createHash('sha1')
    .update(key + WEBSOCKET_GUID)
    .digest('base64')
}

/** An HTTP/1.1 backend for a request that came over HTTP/2. */
export class Http1UpstreamSide implements RelayUpstream, UpstreamHandler, RelayHead {
  readonly #context: EngineContext
  readonly #pool: UpstreamPool
  readonly #target: ForwardTarget
  readonly #request: OutgoingRequest
  readonly #handler: RelayUpstreamHandler
  #connection: UpstreamConnection | null = null
  #head: ResponseHead | null = null
  /** Not yet written: head and the first body bytes share a write. */
  #text = ''
  #isFlushScheduled = false
  /** The only thing written so far, to be written again on a fresh connection. */
  #replayText: string | null = null
  #writes = 0
  #isReplaying = false
  #isChunked = false
  #webSocketKey: string | null = null
  #responseBytes = 0

  constructor(
    context: EngineContext,
    pool: UpstreamPool,
    target: ForwardTarget,
    request: OutgoingRequest,
    handler: RelayUpstreamHandler,
  ) {
    this.#context = context
    this.#pool = pool
    this.#target = target
    this.#request = request
    this.#handler = handler
  }

  // What the relay asks.

  get responseBytes(): number {
    return this.#connection?.responseBytes ?? this.#responseBytes
  }

  get pendingBytes(): number {
    return this.#text.length + (this.#connection?.writableLength ?? 0)
  }

  get isPaused(): boolean {
    return this.#connection?.isPaused ?? false
  }

  start(): void {
    const connection = this.#pool.take(this.#target.host, this.#target.port)
    if (connection === null) {
      this.#connect()
      return
    }
    this.#connection = connection
    this.#handler.onConnected()
  }

  arm(delayMs: number): void {
    this.#connection?.timer.arm(delayMs)
  }

  sendHead(): void {
    const connection = this.#connection
    if (connection === null) return
    const head = this.#request.head as Http2RequestHead
    connection.begin(this, { isHeadRequest: head.method === 'HEAD', payloadOnly: true })
    if (this.#isReplaying) {
      connection.writeText(this.#replayText!)
      return
    }
    if (isWebSocket(head)) this.#webSocketKey = randomBytes(16).toString('base64')
    this.#isChunked = this.#webSocketKey === null && head.bodyKind === 'chunked'
    this.#text = renderHttp1Request(this.#request, this.#webSocketKey)
    if (head.bodyKind === 'none' || this.#webSocketKey !== null) this.flush()
    else this.#scheduleFlush()
  }

  sendBody(bytes: Buffer, start: number, end: number): void {
    const connection = this.#connection
    if (connection === null) return
    const length = end - start
    const sizeLine = this.#isChunked ? `${length.toString(16)}\r\n` : ''
    if (this.#text.length + length < TEXT_WRITE_BYTES_MAX) {
      this.#text += sizeLine + bytes.toString('latin1', start, end) + (this.#isChunked ? '\r\n' : '')
      this.#scheduleFlush()
      return
    }
    const text = this.#text + sizeLine
    this.#text = this.#isChunked ? '\r\n' : ''
    this.#writes += 1
    this.#replayText = null
    const piece = Buffer.from(bytes.subarray(start, end))
    if (text === '') connection.writeBytes(piece)
    else connection.writePair(text, piece)
    if (this.#text !== '') this.#scheduleFlush()
  }

  /** Trailers stay here: an HTTP/1.1 backend may merge them into its head, behind the owner's header policy. */
  sendEnd(): void {
    if (this.#isChunked) this.#text += '0\r\n\r\n'
    this.flush()
  }

  /** Writes what was gathered: at the end of the request, or of the turn. */
  flush(): void {
    this.#isFlushScheduled = false
    const connection = this.#connection
    if (connection === null || this.#text === '') return
    const text = this.#text
    this.#text = ''
    this.#replayText = this.#writes === 0 ? text : null
    this.#writes += 1
    connection.writeText(text)
  }

  pause(): void {
    this.#connection?.pause()
  }

  resume(): void {
    this.#connection?.resume()
  }

  replay(): boolean {
    if (this.#replayText === null) return false
    this.#isReplaying = true
    this.#connect()
    return true
  }

  release(isRequestComplete: boolean): void {
    const connection = this.#detach()
    if (connection === null) return
    if (isRequestComplete && connection.writableLength === 0) this.#pool.release(connection)
    else connection.destroy()
  }

  destroy(): void {
    this.#detach()?.destroy()
  }

  writeTunnel(bytes: Buffer, start: number, end: number): void {
    this.#connection?.writeBytes(Buffer.from(bytes.subarray(start, end)))
  }

  endTunnel(): void {
    this.#connection?.endWriting()
  }

  finishTunnel(): void {
    this.#detach()?.finishTunnel()
  }

  // What the relay looks at during `onHead`.

  get status(): number {
    return this.#head!.status
  }

  get contentLength(): number {
    return this.#head!.contentLength
  }

  get isCloseDelimited(): boolean {
    return this.#head!.framing === Framing.UNTIL_CLOSE
  }

  /** Behind chunks only, which have no length. */
  get mayEndInTrailers(): boolean {
    return false
  }

  get isEnd(): boolean {
    const { framing, contentLength } = this.#head!
    return framing === Framing.NONE || (framing === Framing.LENGTH && contentLength === 0)
  }

  get fieldCount(): number {
    return this.#head!.scanner.fieldCount
  }

  get get(): HeaderGetter {
    return this.#head!.get
  }

  collect(): HeaderField[] {
    const { text, status, scanner } = this.#head!
    const { fields, codes, fieldCount } = scanner
    const { cookiePrefixes } = this.#request.policy
    const kept: HeaderField[] = []
    for (let i = 0; i < fieldCount; i++) {
      const code = codes[i]!
      if (code !== FieldCode.OTHER && code !== FieldCode.SET_COOKIE && code !== FieldCode.CONTENT_LENGTH) continue
      if (code === FieldCode.CONTENT_LENGTH && (status < 200 || status === 204)) continue
      const start = fields[i * 4]!
      const field = fieldOfLine(text.slice(start, fields[i * 4 + 3]!), fields[i * 4 + 1]! - start)
      if (code === FieldCode.SET_COOKIE && cookiePrefixes.some(prefix => field.value.startsWith(prefix))) continue
      if (this.#webSocketKey !== null && field.name === 'sec-websocket-accept') continue
      // What HTTP/2 forbids or restricts says nothing in a response: `te`, `host` and the like.
      if (field.fault === '') kept.push(field)
    }
    return kept
  }

  // What the connection tells.

  onConnected(): void {
    this.#handler.onConnected()
  }

  onInterim(head: ResponseHead): void {
    this.#head = head
    this.#handler.onInterim(this)
  }

  onHead(head: ResponseHead): void {
    this.#head = head
    if (head.status === 101) {
      this.#onSwitched(head)
    } else if (this.#webSocketKey !== null && head.status < 300) {
      this.#fail('malformed', `status ${head.status} to a WebSocket handshake`)
    } else {
      this.#handler.onHead(this)
    }
  }

  onBody(bytes: Buffer, start: number, end: number): void {
    this.#handler.onBody(bytes, start, end)
  }

  onEnd(): void {
    const connection = this.#connection
    if (connection === null) return
    this.#handler.onEnd(trailerFields(connection.decoder, this.#request.policy.responseTable))
  }

  onTunnelBytes(bytes: Buffer, start: number, end: number): void {
    this.#handler.onBody(bytes, start, end)
  }

  onReadDone(): void {
    this.#handler.onReadDone()
  }

  onDrain(): void {
    this.#handler.onDrain()
  }

  onTimeout(): void {
    this.#handler.onTimeout()
  }

  onBroken(cause: UpstreamFailure): void {
    const connection = this.#detach()
    const hasHead = this.#head !== null
    const isStale = connection?.isReused === true && connection.responseBytes === 0 && !hasHead
    this.#handler.onBroken({
      kind: kindOf(cause),
      detail: cause.detail,
      code: ErrorCode.INTERNAL_ERROR,
      isStale,
      isUnsent: isStale && cause.syscall === 'write' && this.#replayText !== null,
    })
  }

  #connect(): void {
    const { host, port, connectTimeoutMs } = this.#target
    this.#connection = this.#pool.connect(host, port, connectTimeoutMs, this)
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return
    this.#isFlushScheduled = true
    this.#context.turns.add(this)
  }

  #onSwitched(head: ResponseHead): void {
    const key = this.#webSocketKey
    if (key === null || !head.hasUpgrade) {
      this.#handler.onHead(this)
      return
    }
    const isAccepted =
      head.upgradeProtocol.toLowerCase() === 'websocket' && head.get('sec-websocket-accept') === webSocketAccept(key)
    if (!isAccepted) {
      this.#fail('malformed', 'the WebSocket handshake was not accepted as it must be')
      return
    }
    this.#connection!.enterTunnel()
    this.#handler.onUpgraded(this, 'websocket')
  }

  #fail(kind: RelayFailure['kind'], detail: string): void {
    this.destroy()
    this.#handler.onBroken({ kind, detail, code: ErrorCode.INTERNAL_ERROR, isStale: false, isUnsent: false })
  }

  #detach(): UpstreamConnection | null {
    const connection = this.#connection
    this.#connection = null
    if (connection !== null) this.#responseBytes = connection.responseBytes
    return connection
  }
}

function kindOf(cause: UpstreamFailure): RelayFailure['kind'] {
  if (cause.detail === 'ECONNREFUSED') return 'refused'
  if (cause.kind === 'error') return cause.syscall === 'connect' ? 'connect' : 'reset'
  return cause.kind
}
