/** RFC 6455 §5.2. */
export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** One frame, unmasked. */
export interface Frame {
  readonly isFinal: boolean
  readonly opcode: number
  readonly payload: Buffer
  readonly isMasked: boolean
  /** Any of the three reserved bits was set. */
  readonly hasReservedBits: boolean
}

/** What makes one frame; a client's `mask` is four bytes. */
export interface FrameParts {
  readonly opcode: number
  readonly payload: Uint8Array
  readonly isFinal?: boolean
  readonly mask?: Uint8Array
}

const LENGTH_IN_16_BITS = 126
const LENGTH_IN_64_BITS = 127
const MASK_BYTES = 4

/** The frame's bytes. */
export function encodeFrame({ opcode, payload, isFinal = true, mask }: FrameParts): Buffer {
  const length = payload.length
  const lengthCode = length < LENGTH_IN_16_BITS ? length : length < 2 ** 16 ? LENGTH_IN_16_BITS : LENGTH_IN_64_BITS
  const lengthBytes = lengthCode < LENGTH_IN_16_BITS ? 0 : lengthCode === LENGTH_IN_16_BITS ? 2 : 8
  const headBytes = 2 + lengthBytes + (mask === undefined ? 0 : MASK_BYTES)
  const frame = Buffer.allocUnsafe(headBytes + length)
  frame[0] = (isFinal ? 0x80 : 0) | opcode
  frame[1] = (mask === undefined ? 0 : 0x80) | lengthCode
  if (lengthBytes === 2) frame.writeUInt16BE(length, 2)
  if (lengthBytes === 8) frame.writeBigUInt64BE(BigInt(length), 2)
  frame.set(payload, headBytes)
  if (mask !== undefined) {
    frame.set(mask, headBytes - MASK_BYTES)
    applyMask(frame.subarray(headBytes), mask)
  }
  return frame
}

/** A frame longer than the reader wants: nothing after it can be read. */
export class FrameTooLarge extends Error {
  override readonly name: string = 'FrameTooLarge'
}

/**
 * Cuts a byte stream into frames: call it with each chunk, get the frames that became complete.
 *
 * @throws {FrameTooLarge} as soon as a head announces more than `payloadBytesMax`
 */
export function createFrameDecoder(payloadBytesMax: number): (chunk: Buffer) => Frame[] {
  let chunks: Buffer[] = []
  let heldBytes = 0
  let neededBytes = 2
  return chunk => {
    chunks.push(chunk)
    heldBytes += chunk.length
    const frames: Frame[] = []
    if (heldBytes < neededBytes) return frames
    let rest = Buffer.concat(chunks)
    for (;;) {
      const head = readHead(rest, payloadBytesMax)
      neededBytes = head.totalBytes
      if (rest.length < neededBytes) break
      frames.push(readFrame(rest, head))
      rest = rest.subarray(neededBytes)
    }
    chunks = [rest]
    heldBytes = rest.length
    return frames
  }
}

interface Head {
  /** Of head and payload; of as much of the head as is needed to know more, while that is missing. */
  readonly totalBytes: number
  readonly headBytes: number
}

function readHead(bytes: Buffer, payloadBytesMax: number): Head {
  if (bytes.length < 2) return { totalBytes: 2, headBytes: 2 }
  const lengthCode = (bytes[1] as number) & 0x7f
  const lengthBytes = lengthCode < LENGTH_IN_16_BITS ? 0 : lengthCode === LENGTH_IN_16_BITS ? 2 : 8
  const headBytes = 2 + lengthBytes + (((bytes[1] as number) & 0x80) === 0 ? 0 : MASK_BYTES)
  if (bytes.length < headBytes) return { totalBytes: headBytes, headBytes }
  let payloadBytes = lengthCode
  if (lengthBytes === 2) payloadBytes = bytes.readUInt16BE(2)
  if (lengthBytes === 8) payloadBytes = Number(bytes.readBigUInt64BE(2))
  if (payloadBytes > payloadBytesMax) throw new FrameTooLarge(`a frame of ${payloadBytes} bytes`)
  return { totalBytes: headBytes + payloadBytes, headBytes }
}

function readFrame(bytes: Buffer, { totalBytes, headBytes }: Head): Frame {
  const first = bytes[0] as number
  const isMasked = ((bytes[1] as number) & 0x80) !== 0
  const payload = Buffer.from(bytes.subarray(headBytes, totalBytes))
  if (isMasked) applyMask(payload, bytes.subarray(headBytes - MASK_BYTES, headBytes))
  return {
    isFinal: (first & 0x80) !== 0,
    opcode: first & 0x0f,
    payload,
    isMasked,
    hasReservedBits: (first & 0x70) !== 0,
  }
}

function applyMask(payload: Uint8Array, mask: Uint8Array): void {
  for (let at = 0; at < payload.length; at++) payload[at] = (payload[at] as number) ^ (mask[at & 3] as number)
}
