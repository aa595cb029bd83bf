import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { encodeFrame, OPCODE } from '../web-socket/frames.ts'
import {
  CLOSE_CODE,
  computeAcceptKey,
  createMessageReader,
  encodeClose,
  type WebSocketMessage,
} from '../web-socket/messages.ts'
import { isAuthorized } from './authorization.ts'
import type { KitchenContext } from './context.ts'
import { requestInfo } from './request-info.ts'

/** An upgrade request with what it came on. */
export interface Upgrade {
  readonly request: IncomingMessage
  readonly socket: Socket
  /** Bytes that already followed the head. */
  readonly head: Buffer
}

/** Answers the upgrade and echoes; `request-info`, `kitchen-state`, `bytes-N` and `chars-N` are answered specially. */
export function serveWebSocket(kitchen: KitchenContext, { request, socket, head }: Upgrade): void {
  const key = request.headers['sec-websocket-key']
  const path = (request.url ?? '/').split('?')[0] as string
  const refusal = isAuthorized(request, path, kitchen.options) ? '400 Bad Request' : '403 Forbidden'
  if (key === undefined || refusal !== '400 Bad Request') {
    socket.end(`HTTP/1.1 ${refusal}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
    return
  }
  socket.write(acceptHead(request, key))
  socket.setNoDelay(true)
  socket.write(textFrame('Connected to kitchen'))
  const read = createMessageReader({
    textBytesMax: kitchen.options.wsMaxTextMessageSize,
    binaryBytesMax: kitchen.options.wsMaxBinaryMessageSize,
    isMasked: true,
  })
  const onChunk = (chunk: Buffer): void => {
    for (const message of read(chunk)) {
      const answer = answerTo(message, kitchen, request)
      if (answer === undefined || !socket.writable) continue
      if (answer.isLast) socket.end(answer.frame)
      else socket.write(answer.frame)
    }
    if (socket.writableNeedDrain) {
      socket.pause()
      socket.once('drain', () => socket.resume())
    }
  }
  socket.on('data', onChunk)
  socket.once('end', () => socket.end())
  if (head.length > 0) onChunk(head)
}

function acceptHead(request: IncomingMessage, key: string): string {
  const offered = request.headers['sec-websocket-protocol']?.split(',')[0]?.trim()
  const lines = [
    'HTTP/1.1 101 Switching Protocols',
    'upgrade: websocket',
    'connection: Upgrade',
    `sec-websocket-accept: ${computeAcceptKey(key)}`,
  ]
  if (offered) lines.push(`sec-websocket-protocol: ${offered}`)
  const cid = request.headers['x-cid']
  if (cid !== undefined) lines.push(`x-cid: ${String(cid)}`)
  return `${lines.join('\r\n')}\r\n\r\n`
}

interface Answer {
  readonly frame: Buffer
  readonly isLast?: boolean
}

function answerTo(message: WebSocketMessage, kitchen: KitchenContext, request: IncomingMessage): Answer | undefined {
  switch (message.kind) {
    case 'text':
      return answerToText(message.text, kitchen, request)
    case 'binary':
      return { frame: encodeFrame({ opcode: OPCODE.binary, payload: message.data }) }
    case 'ping':
      return { frame: encodeFrame({ opcode: OPCODE.pong, payload: message.data }) }
    case 'pong':
      return undefined
    case 'close':
      return lastWords(message.code === CLOSE_CODE.noCodeGiven ? CLOSE_CODE.normal : message.code, message.reason)
    case 'broken':
      return lastWords(message.code, message.reason)
  }
}

function answerToText(text: string, kitchen: KitchenContext, request: IncomingMessage): Answer {
  if (text === 'request-info') return { frame: textFrame(JSON.stringify(requestInfo(request, 0))) }
  if (text === 'kitchen-state') return { frame: textFrame(JSON.stringify(kitchen.state('ws'))) }
  const wanted = /^(bytes|chars)-(\d{1,15})$/.exec(text)
  if (wanted === null) return { frame: textFrame(text) }
  const count = Number(wanted[2])
  const isBinary = wanted[1] === 'bytes'
  const countMax = isBinary ? kitchen.options.wsMaxBinaryMessageSize : kitchen.options.wsMaxTextMessageSize
  if (count > countMax) return lastWords(CLOSE_CODE.internalError, `${count} is more than ${countMax}`)
  const { randomFillSync } = process.getBuiltinModule('node:crypto')
  const payload = randomFillSync(Buffer.allocUnsafe(count))
  if (!isBinary) for (let at = 0; at < count; at++) payload[at] = LETTER_A + ((payload[at] as number) % LETTERS)
  return { frame: encodeFrame({ opcode: isBinary ? OPCODE.binary : OPCODE.text, payload }) }
}

const LETTER_A = 65
const LETTERS = 26

function textFrame(text: string): Buffer {
  return encodeFrame({ opcode: OPCODE.text, payload: Buffer.from(text) })
}

const CLOSE_REASON_CHARS_MAX = 40

function lastWords(code: number, reason: string): Answer {
  return { frame: encodeClose(code, reason.slice(0, CLOSE_REASON_CHARS_MAX)), isLast: true }
}
