import { STATUS_CODES } from 'node:http'
import type { BodySink } from '../body-sink.ts'
import type { ClientConnection } from '../client-connection.ts'
import type { EngineContext } from '../engine-context.ts'
import type { H1RequestHead } from '../h1/request-head.ts'
import type { HeaderField } from '../h2/index.ts'
import { renderConnection } from '../own-response.ts'
import { renderFields } from './fields.ts'
import { webSocketAccept } from './http1-upstream-side.ts'
import { trailerFields } from './request-fields.ts'
import type { RelayBodySink, RelayClient, RelayResponse } from './sides.ts'

/** Up to here text and body go out as one Latin-1 string. */
const TEXT_WRITE_BYTES_MAX = 15 * 1024

/** An HTTP/1.x client for a response that comes over HTTP/2. */
export class Http1ClientSide implements RelayClient, BodySink {
  readonly wantsPayload = true
  readonly #client: ClientConnection
  readonly #head: H1RequestHead
  readonly #context: EngineContext
  #sink: RelayBodySink | null = null
  /** Not yet written: what comes within a turn shares a write. */
  #text = ''
  #isFlushScheduled = false
  #isChunked = false
  #isBodyless = false
  #isCloseDelimited = false
  #isTunnel = false

  constructor(client: ClientConnection, head: H1RequestHead) {
    this.#client = client
    this.#head = head
    this.#context = client.context
  }

  get isRequestComplete(): boolean {
    return this.#client.body.isComplete
  }

  get hasBodyBeenTaken(): boolean {
    return this.#client.body.hasBeenTaken
  }

  get hasResponseStarted(): boolean {
    return this.#client.hasResponseStarted
  }

  get awaitsContinue(): boolean {
    return this.#client.body.awaitsContinue
  }

  get requestBytes(): number {
    return this.#client.body.requestBytes
  }

  get pendingBytes(): number {
    return this.#text.length + this.#client.writableLength
  }

  // The request.

  openBody(sink: RelayBodySink): void {
    this.#sink = sink
    this.#client.attachSink(this)
  }

  closeBody(): void {
    this.#client.detachSink()
  }

  holdBody(): void {
    if (this.#isTunnel) this.#client.pauseTunnel()
    else this.#client.holdBody()
  }

  releaseBody(): void {
    if (this.#isTunnel) this.#client.resumeTunnel()
    else this.#client.releaseBody()
  }

  continueIfKept(): void {
    if (this.#head.mustContinueSelf) this.#client.sendContinue()
  }

  onRequestBody(bytes: Buffer, start: number, end: number): void {
    this.#sink?.onRequestBody(bytes, start, end)
  }

  onRequestEnd(): void {
    this.#sink?.onRequestEnd(trailerFields(this.#client.body.decoder, this.#context.policy.requestTable))
  }

  onRequestMalformed(detail: string): void {
    this.#sink?.onRequestMalformed(detail)
  }

  onRequestStalled(): void {
    this.#sink?.onRequestStalled()
  }

  // The response.

  writeInterim(status: number, fields: readonly HeaderField[]): void {
    const client = this.#client
    if (this.#head.minorVersion === 0) return
    if (status === 100) {
      if (client.body.hasSentContinue) return
      client.body.hasSentContinue = true
    }
    client.writeText(`${statusLine(status)}${renderFields(fields)}\r\n`)
  }

  writeHead(response: RelayResponse): void {
    const { status, isEnd } = response
    let { contentLength, fields } = response
    const client = this.#client
    const { method, minorVersion } = this.#head
    this.#isBodyless = method === 'HEAD' || status === 204 || status === 304
    if (contentLength >= 0 && response.mayEndInTrailers && !this.#isBodyless && minorVersion === 1) {
      // RFC 9112 §7.1.2: only a chunked body ends in trailers; the length goes for a client that asked for them.
      if (asksForTrailers(this.#head)) {
        contentLength = -1
        fields = fields.filter(({ name }) => name !== 'content-length')
      }
    }
    const hasLength = this.#isBodyless || contentLength >= 0 || isEnd
    this.#isCloseDelimited = !hasLength && minorVersion === 0
    this.#isChunked = !hasLength && minorVersion === 1
    let framing = ''
    if (this.#isChunked) framing = 'transfer-encoding: chunked\r\n'
    // The backend said so by END_STREAM; here it must be said in words.
    else if (isEnd && contentLength < 0 && !this.#isBodyless) framing = 'content-length: 0\r\n'
    const keepAlive = client.settleKeepAlive(!this.#isCloseDelimited)
    client.hasResponseStarted = true
    this.#text += `${statusLine(status)}${renderFields(fields)}${framing}${renderConnection(keepAlive, minorVersion)}\r\n`
    this.#scheduleFlush()
  }

  writeBody(bytes: Buffer, start: number, end: number): void {
    const length = end - start
    if (this.#isBodyless || length === 0) return
    const isChunked = this.#isChunked
    const sizeLine = isChunked ? `${length.toString(16)}\r\n` : ''
    if (this.#text.length + length < TEXT_WRITE_BYTES_MAX) {
      this.#text += sizeLine + bytes.toString('latin1', start, end) + (isChunked ? '\r\n' : '')
    } else {
      const text = this.#text + sizeLine
      this.#text = isChunked ? '\r\n' : ''
      this.#client.writePair(text, Buffer.from(bytes.subarray(start, end)))
    }
    this.#scheduleFlush()
  }

  writeEnd(trailers: readonly HeaderField[] | null): void {
    if (this.#isChunked) this.#text += `0\r\n${trailers === null ? '' : renderFields(trailers)}\r\n`
    this.flush()
  }

  flush(): void {
    this.#isFlushScheduled = false
    if (this.#text === '') return
    const text = this.#text
    this.#text = ''
    this.#client.writeText(text)
  }

  finish(): void {
    this.#client.finishExchange()
  }

  breakOff(): void {
    this.flush()
    this.#client.breakOff(this.#isCloseDelimited || !this.hasResponseStarted)
  }

  refuse(status: number, message: string): void {
    this.#client.refuse(status, message, this.#head)
  }

  // Tunnels.

  openTunnel({ fields }: RelayResponse, upgradeProtocol: string): void {
    const client = this.#client
    const accept = webSocketAccept(this.#head.get('sec-websocket-key') ?? '')
    client.hasResponseStarted = true
    client.keepAlive = false
    this.#isTunnel = true
    client.writeText(
      `${statusLine(101)}${renderFields(fields)}connection: upgrade\r\nupgrade: ${upgradeProtocol}\r\n` +
        `sec-websocket-accept: ${accept}\r\n\r\n`,
    )
    client.enterTunnel()
  }

  writeTunnel(bytes: Buffer, start: number, end: number): void {
    this.#client.writeBytes(Buffer.from(bytes.subarray(start, end)))
  }

  endTunnel(): void {
    this.#client.endWriting()
  }

  finishTunnel(): void {
    this.#client.finishExchange()
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return
    this.#isFlushScheduled = true
    this.#context.turns.add(this)
  }
}

/** It said `TE: trailers`: it takes them, and will not be served by dropping them (RFC 9110 §10.1.4). */
function asksForTrailers(head: H1RequestHead): boolean {
  const te = head.get('te')
  return te !== undefined && /(?:^|,)[ \t]*trailers[ \t]*(?:$|,)/i.test(te)
}

function statusLine(status: number): string {
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`
}
