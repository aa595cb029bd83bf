import { connect, type TLSSocket } from 'node:tls'
import type { Address } from '../index.ts'
import { splitAddress } from './address.ts'
import { encodeFrame } from './frames.ts'
import type { ClusterKey } from './keys.ts'
import { type AnswerFrame, BUFFERED_BYTES_MAX, PSK_CIPHERS, serveFrames, type Traffic } from './stream-server.ts'

const CONNECT_MS_MAX = 2_000
/** Who could not be reached is not tried again at once. */
const RETRY_AFTER_MS = 500
/** Streams at a time; with more, what would open another one fails. */
const STREAMS_MAX = 1_024

/** Streams to peers, opened when there is something to say. */
export class StreamClients {
  readonly #key: ClusterKey
  readonly #answer: AnswerFrame
  readonly #onFailed: (address: Address) => void
  readonly #nowMs: () => number
  readonly #traffic: Traffic
  readonly #sockets = new Map<Address, TLSSocket>()
  readonly #failedAtMs = new Map<Address, number>()
  #isStopped = false
  failures = 0

  constructor(
    key: ClusterKey,
    how: {
      readonly answer: AnswerFrame
      readonly onFailed: (address: Address) => void
      readonly nowMs: () => number
      readonly traffic: Traffic
    },
  ) {
    this.#key = key
    this.#answer = how.answer
    this.#onFailed = how.onFailed
    this.#nowMs = how.nowMs
    this.#traffic = how.traffic
  }

  get size(): number {
    return this.#sockets.size
  }

  send(address: Address, text: string): void {
    if (this.#isStopped) return
    const socket = this.#sockets.get(address) ?? this.#open(address)
    if (socket === undefined) {
      this.#fail(address)
      return
    }
    const frame = encodeFrame(text)
    this.#traffic.bytesSent += frame.length
    socket.write(frame)
    if (socket.writableLength > BUFFERED_BYTES_MAX) socket.destroy()
  }

  stop(): void {
    this.#isStopped = true
    for (const socket of this.#sockets.values()) socket.destroy()
  }

  #open(address: Address): TLSSocket | undefined {
    const failedAtMs = this.#failedAtMs.get(address)
    if (failedAtMs !== undefined && failedAtMs + RETRY_AFTER_MS > this.#nowMs()) return undefined
    if (this.#sockets.size >= STREAMS_MAX) return undefined
    const { name, streams } = this.#key
    const socket = connect({
      ...splitAddress(address),
      ciphers: PSK_CIPHERS,
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.2',
      pskCallback: () => ({ psk: streams, identity: name }),
      // The key itself is the proof; there are no certificates.
      checkServerIdentity: () => undefined,
    })
    this.#sockets.set(address, socket)
    socket.setNoDelay(true)
    let isProved = false
    const giveUp = setTimeout(() => socket.destroy(), CONNECT_MS_MAX)
    socket.once('secureConnect', () => {
      clearTimeout(giveUp)
      isProved = true
    })
    socket.once('close', () => {
      clearTimeout(giveUp)
      this.#sockets.delete(address)
      if (!isProved) this.#noteFailure(address)
      this.#fail(address)
    })
    serveFrames(socket, this.#answer, this.#traffic)
    return socket
  }

  #noteFailure(address: Address): void {
    if (this.#failedAtMs.size >= STREAMS_MAX) this.#failedAtMs.clear()
    this.#failedAtMs.set(address, this.#nowMs())
  }

  #fail(address: Address): void {
    if (this.#isStopped) return
    this.failures++
    this.#onFailed(address)
  }
}
