import type { Socket } from 'node:net'
import type { EngineContext } from './engine-context.ts'
import { BodyDecoder, Framing } from './h1/body-decoder.ts'
import { HeadScanner, Scan } from './h1/head-scanner.ts'
import { ResponseHead } from './h1/response-head.ts'
import { InputBuffer } from './input-buffer.ts'
import { TextWriter } from './text-writer.ts'
import { WheelTimer } from './timer-wheel.ts'
import { connectEventOf, openUpstreamSocket, type UpstreamTls } from './upstream-socket.ts'

/** What happens on an upstream connection in use, told to whoever uses it. */
export interface UpstreamHandler {
  onConnected(): void
  /** A 1xx response other than 101. */
  onInterim(head: ResponseHead): void
  /** The final head, or 101. */
  onHead(head: ResponseHead): void
  /** Body bytes in the connection's framing, or payload ranges; valid only during the call. */
  onBody(bytes: Buffer, start: number, end: number): void
  /** Bytes of an upgraded connection; valid only during the call. */
  onTunnelBytes(bytes: Buffer, start: number, end: number): void
  /** The response is complete. The connection is the handler's until `release` or `destroy`. */
  onEnd(): void
  /** All of one read has been told: time to flush. */
  onReadDone(): void
  /** The connection is gone or unusable before the response was complete. Called at most once, and nothing after it. */
  onBroken(cause: UpstreamFailure): void
  onDrain(): void
  onTimeout(): void
}

/** Why an upstream connection failed. */
export interface UpstreamFailure {
  readonly kind: 'closed' | 'error' | 'malformed'
  /** The system's code (`ECONNRESET`) or what was malformed. */
  readonly detail: string
  /** System call that failed, when known. */
  readonly syscall: string
}

/** The pool that a connection belongs to. */
export interface UpstreamConnectionOwner {
  /** Undefined for plain TCP. */
  readonly tls: UpstreamTls | undefined
  forget(connection: UpstreamConnection): void
}

const State = { CONNECTING: 0, IDLE: 1, HEAD: 2, BODY: 3, TUNNEL: 4, CLOSED: 5 } as const
/** A read at least this big means bulk: the connection gets buffers of its own, which may be written without a copy. */
const BULK_READ_BYTES_MIN = 32 * 1024

/** One HTTP/1.1 connection to a backend: at most one request in flight. */
export class UpstreamConnection {
  readonly host: string
  readonly port: number
  readonly head: ResponseHead
  readonly decoder: BodyDecoder
  readonly timer: WheelTimer
  handler: UpstreamHandler | null = null
  /** Has carried an earlier request. */
  isReused = false
  /** Bytes of the present response, heads included. */
  responseBytes = 0
  /** Retired instances' connections must not return to the pool. */
  isRetired = false
  readonly #context: EngineContext
  readonly #owner: UpstreamConnectionOwner
  readonly #scanner: HeadScanner
  readonly #socket: Socket
  readonly #writer: TextWriter
  readonly #input = new InputBuffer()
  #state: number = State.CONNECTING
  #isHeadRequest = false
  #payloadOnly = false
  #interimCount = 0
  #hasSurplus = false
  #isPaused = false
  #bulkBuffer: Buffer | null = null

  constructor(context: EngineContext, owner: UpstreamConnectionOwner, host: string, port: number) {
    this.#context = context
    this.#owner = owner
    this.host = host
    this.port = port
    this.#scanner = new HeadScanner('response', context.limits, context.policy.responseTable)
    this.head = new ResponseHead(this.#scanner)
    this.decoder = new BodyDecoder(
      context.limits.trailerBytesMax,
      context.limits.headFieldsMax,
      context.policy.responseTable,
    )
    this.timer = new WheelTimer(context.wheel, () => this.#onTimer())
    this.#socket = openUpstreamSocket({
      host,
      port,
      tls: owner.tls,
      alpn: 'http/1.1',
      onread: {
        buffer: () => this.#bulkBuffer ?? context.readBuffer,
        callback: (length, bytes) => {
          this.#onRead(bytes as Buffer, length)
          return true
        },
      },
    })
    this.#writer = new TextWriter(this.#socket, owner.tls === undefined ? context.directWrites : null, () =>
      this.handler?.onDrain(),
    )
    this.#listen()
  }

  get writableLength(): number {
    return this.#writer.length
  }

  /** Bytes held in user space for this connection. */
  get bufferedBytes(): number {
    return this.#writer.length + this.#input.length
  }

  /** The response ended properly and the connection may carry another request. */
  get isReusable(): boolean {
    return (
      this.#state === State.BODY &&
      this.head.keepAlive &&
      !this.#hasSurplus &&
      !this.isRetired &&
      this.decoder.isComplete &&
      this.decoder.framing !== Framing.UNTIL_CLOSE
    )
  }

  /** Expects a response for `handler`. */
  begin(handler: UpstreamHandler, options: { isHeadRequest: boolean; payloadOnly: boolean }): void {
    this.handler = handler
    this.#state = State.HEAD
    this.#scanner.reset()
    this.#isHeadRequest = options.isHeadRequest
    this.#payloadOnly = options.payloadOnly
    this.#interimCount = 0
    this.responseBytes = 0
  }

  writeText(text: string): void {
    this.#writer.writeText(text)
  }

  /** `bytes` must stay untouched until sent. */
  writeBytes(bytes: Uint8Array): void {
    this.#writer.writeBytes(bytes)
  }

  /** One system call for a head and the first piece of a body. */
  writePair(text: string, bytes: Uint8Array): void {
    this.#writer.writePair(text, bytes)
  }

  /** Sends FIN after what is queued (tunnels). */
  endWriting(): void {
    this.#writer.end()
  }

  pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#socket.resume()
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  /** True if a range of `bytes` may be passed to a write without a copy; if the write stays pending, `giveBulkAway` must follow. */
  isBulk(bytes: Buffer): boolean {
    return bytes === this.#bulkBuffer
  }

  /** The write of a bulk range stayed pending: read on into other memory. Who wrote returns the old. */
  giveBulkAway(): void {
    this.#bulkBuffer = this.#context.bulkBuffers.take()
  }

  /** Everything from now on is opaque. */
  enterTunnel(): void {
    this.#state = State.TUNNEL
  }

  /** The tunnel is over: sends what is queued, then closes. */
  finishTunnel(): void {
    this.handler = null
    this.#writer.destroySoon()
    if (this.#writer.length === 0) this.#close()
    else this.timer.arm(this.#context.limits.lingerTimeoutMs)
  }

  /** Back to rest; the pool is now the owner. */
  rest(idleMs: number): void {
    this.handler = null
    this.#state = State.IDLE
    this.isReused = true
    this.#returnBulkBuffer()
    this.resume()
    this.timer.arm(idleMs)
  }

  /** Cuts the connection; the handler hears nothing more. */
  destroy(): void {
    this.handler = null
    this.#close()
  }

  #listen(): void {
    const socket = this.#socket
    socket.on(connectEventOf(this.#owner.tls), () => {
      if (this.#state !== State.CONNECTING) return
      this.#state = State.IDLE
      this.handler?.onConnected()
    })
    socket.on('end', () => this.#onEndOfInput())
    socket.on('error', error => {
      const { code, syscall } = error as NodeJS.ErrnoException
      this.#break({ kind: 'error', detail: code ?? error.message, syscall: syscall ?? '' })
    })
    socket.on('close', () => this.#break({ kind: 'closed', detail: 'connection closed', syscall: '' }))
  }

  #onRead(bytes: Buffer, length: number): void {
    if (this.#state === State.IDLE) {
      // Nobody asked for this: whatever it is, it must not become the answer to the next request.
      this.#context.log.debug({ host: this.host, port: this.port, length }, 'bytes on an idle upstream connection')
      this.#break({ kind: 'malformed', detail: 'bytes on an idle connection', syscall: '' })
      return
    }
    this.responseBytes += length
    if (length >= BULK_READ_BYTES_MIN && this.#bulkBuffer === null) {
      this.#bulkBuffer = this.#context.bulkBuffers.take()
    }
    if (this.#state === State.HEAD && this.#input.length > 0) {
      this.#input.pushCopy(bytes, 0, length)
      const { start, end } = this.#input
      const consumed = this.#consume(this.#input.bytes, start, end)
      if (consumed > start) this.#input.consumeTo(consumed)
    } else {
      const consumed = this.#consume(bytes, 0, length)
      if (consumed < length && this.#state === State.HEAD) this.#input.pushCopy(bytes, consumed, length)
    }
    this.handler?.onReadDone()
  }

  /** Returns the offset up to which bytes were used; the rest is the beginning of a head. */
  #consume(bytes: Buffer, start: number, end: number): number {
    let pos = start
    while (this.#state === State.HEAD && pos < end) {
      const result = this.#scanner.scan(bytes, pos, end)
      if (result === Scan.MORE) return pos
      if (result === Scan.BAD) return this.#malformed(this.#scanner.errorMessage, end)
      const error = this.head.read(bytes, pos, this.#isHeadRequest)
      if (error !== '') return this.#malformed(error, end)
      pos += this.#scanner.headEnd
      this.#headComplete()
    }
    if (this.#state === State.BODY) this.#consumeBody(bytes, pos, end)
    else if (this.#state === State.TUNNEL && pos < end) this.handler?.onTunnelBytes(bytes, pos, end)
    return end
  }

  #headComplete(): void {
    const { status } = this.head
    if (status < 200 && status !== 101) {
      this.#interimCount += 1
      if (this.#interimCount > this.#context.limits.interimResponsesMax) {
        this.#malformed('too many 1xx responses', 0)
        return
      }
      this.handler?.onInterim(this.head)
      this.#scanner.reset()
      return
    }
    this.decoder.reset(this.head.framing, this.head.contentLength)
    this.#state = State.BODY
    this.handler?.onHead(this.head)
  }

  #consumeBody(bytes: Buffer, start: number, end: number): void {
    const { decoder } = this
    const consumed = decoder.decode(bytes, start, end, this.#payloadOnly ? this.#onPayload : null)
    if (!this.#payloadOnly && decoder.rawEnd > start) this.handler?.onBody(bytes, start, decoder.rawEnd)
    if (decoder.error !== '') {
      this.#malformed(decoder.error, end)
      return
    }
    if (!decoder.isComplete) return
    if (consumed < end) this.#hasSurplus = true
    this.handler?.onEnd()
  }

  readonly #onPayload = (bytes: Buffer, start: number, end: number): void => {
    this.handler?.onBody(bytes, start, end)
  }

  #malformed(detail: string, end: number): number {
    this.#break({ kind: 'malformed', detail, syscall: '' })
    return end
  }

  #onEndOfInput(): void {
    if (this.#state === State.TUNNEL) {
      this.handler?.onEnd()
    } else if (this.#state === State.BODY && !this.decoder.isComplete && this.decoder.endOfInput()) {
      this.handler?.onEnd()
      this.handler?.onReadDone()
    } else {
      this.#break({ kind: 'closed', detail: 'connection closed', syscall: '' })
    }
  }

  #onTimer(): void {
    if (this.handler === null) this.#close()
    else this.handler.onTimeout()
  }

  #break(cause: UpstreamFailure): void {
    const handler = this.handler
    this.handler = null
    this.#close()
    handler?.onBroken(cause)
  }

  #close(): void {
    if (this.#state === State.CLOSED) return
    this.#state = State.CLOSED
    this.timer.release()
    this.#input.clear()
    this.#socket.destroy()
    this.#returnBulkBuffer()
    this.#owner.forget(this)
  }

  /** Reading has ended, or goes on in the shared memory. */
  #returnBulkBuffer(): void {
    if (this.#bulkBuffer === null) return
    this.#context.bulkBuffers.giveBack(this.#bulkBuffer)
    this.#bulkBuffer = null
  }
}
