import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { systemClock } from '../../../src/clock.ts'
import {
  attachSocket,
  Http2Connection,
  type Http2ConnectionEnd,
  type Http2Stream,
  type Http2StreamHandler,
  SocketIo,
  TurnScheduler,
} from '../../../src/h2/index.ts'
import { TimerWheel, WheelTimer } from '../../../src/timer-wheel.ts'
import { Recorder } from './rig.ts'
import { fieldsOf } from './wire.ts'

const scheduler = new TurnScheduler()

/** Our server role on a real port; `onRequest` answers. */
export class TestServer {
  readonly connections: Http2Connection[] = []
  readonly ends: Http2ConnectionEnd[] = []
  port = 0
  readonly #wheel = new TimerWheel(systemClock)
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  constructor(onRequest: (stream: Http2Stream) => Http2StreamHandler) {
    this.#server = createServer({ noDelay: true }, socket => {
      this.#sockets.add(socket)
      const connection: Http2Connection = new Http2Connection({
        role: 'server',
        io: new SocketIo(socket),
        clock: { nowMs: () => performance.now(), createTimer: onTimeout => new WheelTimer(this.#wheel, onTimeout) },
        scheduler,
        owner: { onRequest, onRefused: () => {}, onCapacity: () => {}, onClosed: end => void this.ends.push(end) },
      })
      this.connections.push(connection)
      attachSocket(socket, connection)
    })
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
    return this.port
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#wheel.stop()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** Our client role on a real socket. */
export class TestClient {
  readonly connection: Http2Connection
  readonly socket: Socket
  readonly closed: Promise<Http2ConnectionEnd>
  readonly #wheel = new TimerWheel(systemClock)

  constructor(port: number) {
    this.socket = connect({ host: '127.0.0.1', port, noDelay: true })
    let close: (end: Http2ConnectionEnd) => void = () => {}
    this.closed = new Promise(resolve => {
      close = resolve
    })
    this.connection = new Http2Connection({
      role: 'client',
      io: new SocketIo(this.socket),
      clock: { nowMs: () => performance.now(), createTimer: onTimeout => new WheelTimer(this.#wheel, onTimeout) },
      scheduler,
      owner: {
        onRequest: () => new Recorder(),
        onRefused: () => {},
        onCapacity: () => {},
        onClosed: end => close(end),
      },
    })
    attachSocket(this.socket, this.connection)
  }

  /** One exchange; resolves when the response ended or the stream was reset. */
  exchange(options: {
    readonly method: string
    readonly path: string
    readonly headers?: readonly string[]
    readonly body?: Buffer
    readonly trailers?: readonly string[]
  }): Promise<Recorder> {
    const { method, path, headers = [], body, trailers } = options
    const { promise, resolve } = Promise.withResolvers<Recorder>()
    const recorder = new Recorder()
    const isEnd = body === undefined && trailers === undefined
    const head = fieldsOf(':method', method, ':scheme', 'http', ':path', path, ':authority', 'localhost', ...headers)
    const stream = this.connection.request(head, isEnd, recorder)
    if (stream === null) throw new Error('no room for a stream')
    recorder.onEnd = () => {
      recorder.events.push('end')
      resolve(recorder)
    }
    const { onReset } = recorder
    recorder.onReset = reset => {
      onReset.call(recorder, reset)
      resolve(recorder)
    }
    if (!isEnd) pour(stream, recorder, body ?? Buffer.alloc(0), trailers)
    return promise
  }

  close(): void {
    this.socket.destroy()
    this.#wheel.stop()
  }
}

/** Sends a body with back-pressure, then the end. */
export function pour(stream: Http2Stream, recorder: Recorder, body: Buffer, trailers?: readonly string[]): void {
  let at = 0
  let hasEnded = false
  const run = (): void => {
    while (at < body.length) {
      const end = Math.min(body.length, at + 64 * 1024)
      const isSent = stream.sendData(body, at, end)
      at = end
      if (!isSent) return
    }
    if (hasEnded) return
    hasEnded = true
    if (trailers === undefined) stream.end()
    else stream.sendTrailers(fieldsOf(...trailers))
  }
  recorder.onDrained = run
  run()
}

/** Answers every request with what it sent: fields as `echo-*`, body and trailers as they were. */
export function echo(stream: Http2Stream): Recorder {
  const recorder = new Recorder()
  const trailers: string[] = []
  recorder.onTrailers = fields => {
    for (const field of fields) trailers.push(field.name, field.value)
  }
  recorder.onEnd = () => {
    const head = [':status', '200', 'echo-method', stream.request!.method, 'echo-path', stream.request!.target]
    stream.request!.forEach((name, value) => {
      if (name.startsWith('x-')) head.push(`echo-${name}`, value)
    })
    stream.sendHead(fieldsOf(...head), false)
    pour(stream, recorder, recorder.body, trailers.length > 0 ? trailers : undefined)
  }
  return recorder
}

/** Bytes that tell where they belong. */
export function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + seed * 7 + (i >> 8) * 13 + (i >> 16)) & 0xff
  return bytes
}
