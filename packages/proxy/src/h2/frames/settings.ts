import { ErrorCode } from '../error-code.ts'
import type { FrameFault } from './frame-rules.ts'
import { FRAME_BYTES_MAX, FRAME_BYTES_MIN, INITIAL_WINDOW_BYTES, WINDOW_BYTES_MAX } from './frame-type.ts'

/** Parameters of SETTINGS (RFC 9113 §6.5.2, RFC 8441 §3). */
export const SettingId = {
  HEADER_TABLE_SIZE: 0x1,
  ENABLE_PUSH: 0x2,
  MAX_CONCURRENT_STREAMS: 0x3,
  INITIAL_WINDOW_SIZE: 0x4,
  MAX_FRAME_SIZE: 0x5,
  MAX_HEADER_LIST_SIZE: 0x6,
  ENABLE_CONNECT_PROTOCOL: 0x8,
} as const

/** What the peer told of itself; begins with the values every peer has before its first SETTINGS. */
export class PeerSettings {
  headerTableBytes = 4096
  concurrentStreamsMax: number = WINDOW_BYTES_MAX
  initialWindowBytes: number = INITIAL_WINDOW_BYTES
  frameBytesMax: number = FRAME_BYTES_MIN
  headerListBytesMax: number = Number.POSITIVE_INFINITY
  allowsConnectProtocol = false
  readonly #isPeerServer: boolean

  constructor(options: { isPeerServer: boolean }) {
    this.#isPeerServer = options.isPeerServer
  }

  /** Applies one SETTINGS payload in order. Null, or the rule that the peer broke. */
  apply(bytes: Buffer, start: number, end: number): FrameFault | null {
    for (let pos = start; pos + 6 <= end; pos += 6) {
      const fault = this.#applyOne(bytes.readUInt16BE(pos), bytes.readUInt32BE(pos + 2))
      if (fault !== null) return fault
    }
    return null
  }

  #applyOne(id: number, value: number): FrameFault | null {
    switch (id) {
      case SettingId.HEADER_TABLE_SIZE:
        this.headerTableBytes = value
        return null
      case SettingId.ENABLE_PUSH:
        if (value > 1) return refuse(ErrorCode.PROTOCOL_ERROR, 'SETTINGS_ENABLE_PUSH is neither 0 nor 1')
        if (this.#isPeerServer && value === 1) return refuse(ErrorCode.PROTOCOL_ERROR, 'a server enabled push')
        return null
      case SettingId.MAX_CONCURRENT_STREAMS:
        this.concurrentStreamsMax = value
        return null
      case SettingId.INITIAL_WINDOW_SIZE:
        if (value > WINDOW_BYTES_MAX) {
          return refuse(ErrorCode.FLOW_CONTROL_ERROR, 'SETTINGS_INITIAL_WINDOW_SIZE beyond 2^31-1')
        }
        this.initialWindowBytes = value
        return null
      case SettingId.MAX_FRAME_SIZE:
        if (value < FRAME_BYTES_MIN || value > FRAME_BYTES_MAX) {
          return refuse(ErrorCode.PROTOCOL_ERROR, 'SETTINGS_MAX_FRAME_SIZE out of range')
        }
        this.frameBytesMax = value
        return null
      case SettingId.MAX_HEADER_LIST_SIZE:
        this.headerListBytesMax = value
        return null
      case SettingId.ENABLE_CONNECT_PROTOCOL:
        return this.#applyConnectProtocol(value)
      default:
        return null
    }
  }

  #applyConnectProtocol(value: number): FrameFault | null {
    if (value > 1 || (value === 0 && this.allowsConnectProtocol)) {
      return refuse(ErrorCode.PROTOCOL_ERROR, 'SETTINGS_ENABLE_CONNECT_PROTOCOL is invalid or was withdrawn')
    }
    this.allowsConnectProtocol = value === 1
    return null
  }
}

function refuse(code: number, detail: string): FrameFault {
  return { scope: 'connection', code, detail }
}
