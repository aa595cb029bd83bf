import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { encodeFrame, FrameReader } from './frames.ts'
import type { ClusterKey } from './keys.ts'

/** With its own key for every connection, so that a secret that is lost later opens nothing that was recorded. */
export const PSK_CIPHERS = 'ECDHE-PSK-CHACHA20-POLY1305'
const CONNECTIONS_MAX = 1_024
/** Connections that have not proved themselves; the oldest goes when there are more. */
const PENDING_MAX = 64
const HANDSHAKE_MS_MAX = 2_000
/** A peer that says nothing for so long is gone or has nothing to say; it may connect again. */
export const IDLE_MS_MAX = 60_000
/** Bytes that wait for a peer that does not read; with more it is cut off. */
export const BUFFERED_BYTES_MAX = 16_777_216

/** What all packets and streams of a member carried. */
export interface Traffic {
  bytesSent: number
  bytesReceived: number
}

/** Answers one frame with others. Throws when the frame makes no sense. */
export type AnswerFrame = (text: string) => readonly string[]

/** Takes streams from peers that know the cluster secret. */
export class StreamServer {
  readonly raw: Server
  readonly #sockets = new Set<Socket>()
  readonly #pending = new Set<Socket>()
  strangers = 0

  constructor(keys: readonly ClusterKey[], answer: AnswerFrame, traffic: Traffic) {
    const keyByName = new Map(keys.map(({ name, streams }) => [name, streams]))
    const secure = createTlsServer(
      {
        ciphers: PSK_CIPHERS,
        minVersion: 'TLSv1.2',
        maxVersion: 'TLSv1.2',
        handshakeTimeout: HANDSHAKE_MS_MAX,
        pskCallback: (_socket, identity) => keyByName.get(identity) ?? null,
      },
      socket => {
        this.#release(socket)
        serveFrames(socket, answer, traffic)
      },
    )
    secure.on('tlsClientError', (_error, socket) => {
      this.strangers++
      socket.destroy()
    })
    this.raw = createServer({ noDelay: true }, socket => {
      this.#admit(socket)
      secure.emit('connection', socket)
    })
    this.raw.maxConnections = CONNECTIONS_MAX
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>(resolve => {
      this.raw.close(() => resolve())
    })
  }

  #admit(socket: Socket): void {
    this.#sockets.add(socket)
    this.#pending.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      this.#sockets.delete(socket)
      this.#pending.delete(socket)
    })
    const [oldest] = this.#pending
    if (this.#pending.size > PENDING_MAX) oldest?.destroy()
  }

  /** It has proved itself: it cannot be crowded out any more. */
  #release(secure: TLSSocket): void {
    for (const socket of this.#pending) {
      const isSame = socket.remotePort === secure.remotePort && socket.remoteAddress === secure.remoteAddress
      if (isSame) this.#pending.delete(socket)
    }
  }
}

/** Reads frames until the peer goes, is silent for too long, or talks nonsense. */
export function serveFrames(socket: TLSSocket, answer: AnswerFrame, traffic: Traffic): void {
  const reader = new FrameReader()
  socket.setTimeout(IDLE_MS_MAX, () => socket.destroy())
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk: Buffer) => {
    try {
      const isSound = reader.push(chunk, text => {
        for (const reply of answer(text)) {
          const frame = encodeFrame(reply)
          traffic.bytesSent += frame.length
          socket.write(frame)
        }
      })
      if (!isSound || socket.writableLength > BUFFERED_BYTES_MAX) socket.destroy()
    } catch {
      socket.destroy()
    }
  })
}
