import { ErrorCode } from '../error-code.ts'
import { Flag, FrameType } from './frame-type.ts'

/** A broken rule: what it costs and whom. */
export interface FrameFault {
  readonly scope: 'connection' | 'stream'
  readonly code: number
  readonly detail: string
}

/** The part of a frame that its header tells. */
export interface FrameHeader {
  readonly type: number
  readonly flags: number
  readonly streamId: number
  readonly length: number
}

const NEEDS_STREAM = new Set<number>([
  FrameType.DATA,
  FrameType.HEADERS,
  FrameType.PRIORITY,
  FrameType.RST_STREAM,
  FrameType.PUSH_PROMISE,
  FrameType.CONTINUATION,
])
const NEEDS_CONNECTION = new Set<number>([FrameType.SETTINGS, FrameType.PING, FrameType.GOAWAY])

/**
 * The rules that need nothing but the frame header (RFC 9113 §4.2 and §6): stream 0 or not, sizes. Null when all are
 * kept; unknown types keep all of them.
 */
export function findFrameFault(header: FrameHeader, frameBytesMax: number): FrameFault | null {
  const { type, streamId, length } = header
  if (length > frameBytesMax) return sizeFault('frame longer than SETTINGS_MAX_FRAME_SIZE')
  if (streamId === 0 && NEEDS_STREAM.has(type)) return protocolFault('frame of a stream on stream 0')
  if (streamId !== 0 && NEEDS_CONNECTION.has(type)) return protocolFault('frame of the connection on a stream')
  return findSizeFault(header)
}

function findSizeFault({ type, flags, length }: FrameHeader): FrameFault | null {
  switch (type) {
    case FrameType.DATA:
      return (flags & Flag.PADDED) !== 0 && length < 1 ? sizeFault('padded DATA without a pad length') : null
    case FrameType.HEADERS: {
      const least = ((flags & Flag.PADDED) !== 0 ? 1 : 0) + ((flags & Flag.PRIORITY) !== 0 ? 5 : 0)
      return length < least ? sizeFault('HEADERS too short for its flags') : null
    }
    case FrameType.PRIORITY:
      return length === 5
        ? null
        : { scope: 'stream', code: ErrorCode.FRAME_SIZE_ERROR, detail: 'PRIORITY is not 5 octets long' }
    case FrameType.RST_STREAM:
    case FrameType.WINDOW_UPDATE:
      return length === 4 ? null : sizeFault('RST_STREAM or WINDOW_UPDATE is not 4 octets long')
    case FrameType.SETTINGS:
      if ((flags & Flag.ACK) !== 0) return length === 0 ? null : sizeFault('SETTINGS acknowledgement with a payload')
      return length % 6 === 0 ? null : sizeFault('SETTINGS is no multiple of 6 octets long')
    case FrameType.PING:
      return length === 8 ? null : sizeFault('PING is not 8 octets long')
    case FrameType.GOAWAY:
      return length >= 8 ? null : sizeFault('GOAWAY is shorter than 8 octets')
    default:
      return null
  }
}

function protocolFault(detail: string): FrameFault {
  return { scope: 'connection', code: ErrorCode.PROTOCOL_ERROR, detail }
}

function sizeFault(detail: string): FrameFault {
  return { scope: 'connection', code: ErrorCode.FRAME_SIZE_ERROR, detail }
}
