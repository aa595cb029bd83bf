import { connectRaw, type RawTarget } from '../raw-client.ts'
import type { RawResponse } from '../raw-response.ts'
import { createRecorder, type WaitOptions } from '../wait.ts'
import { encodeFrame, OPCODE } from './frames.ts'
import { createMessageReader, encodeClose, type WebSocketMessage } from './messages.ts'

/** A WebSocket as a test writes it. */
export interface WebSocketTarget extends RawTarget {
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly protocols?: readonly string[]
}

/** An open WebSocket, or the answer that refused it. */
export interface TestWebSocket {
  /** The answer to the upgrade; its status is 101 when the WebSocket is open. */
  readonly response: RawResponse
  sendText(text: string): Promise<void>
  sendBinary(data: Uint8Array): Promise<void>
  /** Any frame, for instance a ping, a fragment or nonsense. */
  sendFrame(frame: { opcode: number; payload: Uint8Array; isFinal?: boolean }): Promise<void>
  sendClose(code: number, reason?: string): Promise<void>
  /** Messages in order, pings and the close included. */
  next(options?: WaitOptions): Promise<WebSocketMessage>
  /** How the connection ended: `end`, or an error's code. */
  readonly closed: Promise<string>
  destroy(): void
}

const MESSAGE_BYTES_MAX = 2 ** 28

/** Fixed: tests look at bytes, and nobody here needs protection from a proxy's cache. */
const MASK = Uint8Array.of(0x1f, 0x2e, 0x3d, 0x4c)
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

/** Sends the upgrade request and reads its answer. */
export async function connectWebSocket(target: WebSocketTarget): Promise<TestWebSocket> {
  const connection = await connectRaw(target)
  await connection.write(upgradeHead(target))
  const response = await connection.nextResponse()
  const received = createRecorder<WebSocketMessage | Ended>()
  let taken = 0
  if (response.status === 101) {
    const read = createMessageReader({
      textBytesMax: MESSAGE_BYTES_MAX,
      binaryBytesMax: MESSAGE_BYTES_MAX,
      isMasked: false,
    })
    const onChunk = (chunk: Buffer): void => {
      for (const message of read(chunk)) received.push(message)
    }
    onChunk(connection.rest())
    connection.socket.removeAllListeners('data')
    connection.socket.on('data', onChunk)
  }
  void connection.closed.then(how => received.push({ kind: 'ended', how }))
  return {
    response,
    sendText: text => connection.write(encodeFrame({ opcode: OPCODE.text, payload: Buffer.from(text), mask: MASK })),
    sendBinary: data => connection.write(encodeFrame({ opcode: OPCODE.binary, payload: data, mask: MASK })),
    sendFrame: frame => connection.write(encodeFrame({ ...frame, mask: MASK })),
    sendClose: (code, reason = '') => connection.write(encodeClose(code, reason, MASK)),
    next: async options => {
      const at = received.items.slice(0, taken).some(isEnded) ? taken - 1 : taken++
      await received.waitForCount(at + 1, options)
      const message = received.items[at] as WebSocketMessage | Ended
      if (isEnded(message)) throw new Error(`the WebSocket ended (${message.how}) without a message`)
      return message
    },
    closed: connection.closed,
    destroy: () => connection.destroy(),
  }
}

interface Ended {
  readonly kind: 'ended'
  readonly how: string
}

function isEnded(message: WebSocketMessage | Ended): message is Ended {
  return message.kind === 'ended'
}

function upgradeHead(target: WebSocketTarget): string {
  const headers: Record<string, string> = {
    host: `${target.host ?? '127.0.0.1'}:${target.port}`,
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': KEY,
    ...(target.protocols === undefined ? {} : { 'sec-websocket-protocol': target.protocols.join(', ') }),
    ...target.headers,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${target.path ?? '/'} HTTP/1.1\r\n${lines.join('')}\r\n`
}
