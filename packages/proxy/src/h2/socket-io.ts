import type { Socket } from 'node:net'
import type { Http2Connection } from './connection.ts'
import type { Http2Io } from './io.ts'

/** An `Http2Io` over a socket, plain or TLS. */
export class SocketIo implements Http2Io {
  readonly #socket: Socket
  /** TLS never takes bytes at once; elsewhere that is the rule, and a callback per write would cost for nothing. */
  readonly #tellsLater: boolean

  constructor(socket: Socket) {
    this.#socket = socket
    this.#tellsLater = 'encrypted' in socket
  }

  get writableLength(): number {
    return this.#socket.writableLength
  }

  write(chunks: readonly Buffer[], onTaken: () => void): boolean {
    const socket = this.#socket
    if (socket.destroyed || socket.writableEnded) return false
    const last = chunks.length - 1
    if (last > 0) socket.cork()
    for (let i = 0; i < last; i++) socket.write(chunks[i]!)
    if (this.#tellsLater) socket.write(chunks[last]!, onTaken)
    else socket.write(chunks[last]!)
    if (last > 0) socket.uncork()
    return !this.#tellsLater && socket.writableLength === 0
  }

  endWriting(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

/**
 * Wires a socket's events to its connection and says hello. Bytes arrive by `'data'`; a socket with `onread` hands them
 * to `connection.receive` itself. A peer that half-closes is gone: HTTP/2 has END_STREAM for "finished sending".
 */
export function attachSocket(socket: Socket, connection: Http2Connection): void {
  socket.setNoDelay(true)
  socket.on('data', (bytes: Buffer) => connection.receive(bytes, 0, bytes.length))
  socket.on('drain', () => connection.drained())
  socket.on('end', () => {
    // After our farewell the linger time goes on until all is sent.
    if (!connection.isOver) connection.transportClosed('connection closed')
  })
  socket.on('error', error => connection.transportClosed((error as NodeJS.ErrnoException).code ?? error.message))
  socket.on('close', () => connection.transportClosed('connection closed'))
  connection.start()
}
