import { createFrameDecoder, encodeFrame, type Frame, FrameTooLarge, OPCODE } from './frames.ts'

/** What the other side said; `broken` when it may not say so: answer with a close of that code. */
export type WebSocketMessage =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'binary'; readonly data: Buffer }
  | { readonly kind: 'ping' | 'pong'; readonly data: Buffer }
  | { readonly kind: 'close'; readonly code: number; readonly reason: string }
  | { readonly kind: 'broken'; readonly code: number; readonly reason: string }

/** Close codes, RFC 6455 §7.4.1. */
export const CLOSE_CODE = {
  normal: 1000,
  protocolError: 1002,
  unsupportedData: 1003,
  noCodeGiven: 1005,
  abnormal: 1006,
  invalidText: 1007,
  tooLarge: 1009,
  internalError: 1011,
} as const

/** What a reader accepts. */
export interface MessageLimits {
  readonly textBytesMax: number
  readonly binaryBytesMax: number
  /** True on the server's side: clients mask, servers do not. */
  readonly isMasked: boolean
}

/** Puts fragments together. After a `broken` nothing more is read. */
export function createMessageReader(limits: MessageLimits): (chunk: Buffer) => WebSocketMessage[] {
  const decode = createFrameDecoder(Math.max(limits.textBytesMax, limits.binaryBytesMax))
  let opened: { readonly opcode: number; readonly parts: Buffer[]; bytes: number } | undefined
  let isBroken = false
  const broken = (code: number, reason: string): WebSocketMessage => {
    isBroken = true
    return { kind: 'broken', code, reason }
  }
  const readData = (frame: Frame): WebSocketMessage | undefined => {
    const isContinuation = frame.opcode === OPCODE.continuation
    if (isContinuation !== (opened !== undefined)) return broken(CLOSE_CODE.protocolError, 'fragments out of order')
    opened ??= { opcode: frame.opcode, parts: [], bytes: 0 }
    opened.parts.push(frame.payload)
    opened.bytes += frame.payload.length
    const bytesMax = opened.opcode === OPCODE.text ? limits.textBytesMax : limits.binaryBytesMax
    if (opened.bytes > bytesMax) return broken(CLOSE_CODE.tooLarge, `more than ${bytesMax} bytes`)
    if (!frame.isFinal) return undefined
    const { opcode, parts } = opened
    opened = undefined
    const data = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
    if (opcode === OPCODE.binary) return { kind: 'binary', data }
    const text = decodeText(data)
    return text === undefined ? broken(CLOSE_CODE.invalidText, 'not UTF-8') : { kind: 'text', text }
  }
  const readOne = (frame: Frame): WebSocketMessage | undefined => {
    if (frame.isMasked !== limits.isMasked) return broken(CLOSE_CODE.protocolError, 'wrong masking')
    if (frame.hasReservedBits) return broken(CLOSE_CODE.protocolError, 'reserved bits')
    if (frame.opcode <= OPCODE.binary) return readData(frame)
    if (frame.opcode === OPCODE.ping) return { kind: 'ping', data: frame.payload }
    if (frame.opcode === OPCODE.pong) return { kind: 'pong', data: frame.payload }
    if (frame.opcode === OPCODE.close) return readClose(frame.payload)
    return broken(CLOSE_CODE.unsupportedData, `frames of type ${frame.opcode} are not supported`)
  }
  return chunk => {
    const messages: WebSocketMessage[] = []
    if (isBroken) return messages
    try {
      for (const frame of decode(chunk)) {
        const message = readOne(frame)
        if (message !== undefined) messages.push(message)
        if (isBroken) break
      }
    } catch (error) {
      if (!(error instanceof FrameTooLarge)) throw error
      messages.push(broken(CLOSE_CODE.tooLarge, error.message))
    }
    return messages
  }
}

/** A close frame's payload: code and reason. */
export function encodeClose(code: number, reason: string, mask?: Uint8Array): Buffer {
  const payload = Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)])
  return encodeFrame({ opcode: OPCODE.close, payload, ...(mask === undefined ? {} : { mask }) })
}

/** What a server answers to a client's `sec-websocket-key` (RFC 6455 §4.2.2). */
export function computeAcceptKey(key: string): string {
  const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
  const { createHash } = process.getBuiltinModule('node:crypto')
  return createHash('sha1')
    .update(key + GUID)
    .digest('base64')
}

function readClose(payload: Buffer): WebSocketMessage {
  if (payload.length < 2) return { kind: 'close', code: CLOSE_CODE.noCodeGiven, reason: '' }
  return { kind: 'close', code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() }
}

function decodeText(data: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data)
  } catch {
    return undefined
  }
}
