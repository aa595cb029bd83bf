/** Frame types (RFC 9113 §6). */
export const FrameType = {
  DATA: 0x0,
  HEADERS: 0x1,
  PRIORITY: 0x2,
  RST_STREAM: 0x3,
  SETTINGS: 0x4,
  PUSH_PROMISE: 0x5,
  PING: 0x6,
  GOAWAY: 0x7,
  WINDOW_UPDATE: 0x8,
  CONTINUATION: 0x9,
} as const

/** Flags; END_STREAM and ACK share a bit but never a frame. */
export const Flag = {
  END_STREAM: 0x1,
  ACK: 0x1,
  END_HEADERS: 0x4,
  PADDED: 0x8,
  PRIORITY: 0x20,
} as const

export const FRAME_HEADER_BYTES = 9
/** Smallest legal SETTINGS_MAX_FRAME_SIZE, and its initial value. */
export const FRAME_BYTES_MIN = 16_384
/** Largest legal SETTINGS_MAX_FRAME_SIZE. */
export const FRAME_BYTES_MAX = 16_777_215
/** Initial flow-control window of streams and connections. */
export const INITIAL_WINDOW_BYTES = 65_535
/** Largest legal window. */
export const WINDOW_BYTES_MAX = 0x7fff_ffff
/** What a client says first (RFC 9113 §3.4). */
export const PREFACE: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')
