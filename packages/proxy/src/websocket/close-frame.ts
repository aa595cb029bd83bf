import { randomBytes } from 'node:crypto'

/** Why an endpoint closes (RFC 6455 §7.4.1). */
export const CloseCode = { GOING_AWAY: 1001, INTERNAL_ERROR: 1011 } as const

const FINAL_CLOSE = 0x88
const MASKED = 0x80
const MASK_BYTES = 4
/** Of a control frame, less the code. */
const REASON_BYTES_MAX = 123

/**
 * A close frame.
 *
 * @param reason ASCII
 * @param isMasked as a client sends it
 */
export function renderCloseFrame(code: number, reason: string, isMasked: boolean): Buffer {
  const payload = Buffer.alloc(2 + Math.min(reason.length, REASON_BYTES_MAX))
  payload.writeUInt16BE(code)
  payload.write(reason.slice(0, REASON_BYTES_MAX), 2, 'latin1')
  if (!isMasked) return Buffer.concat([Buffer.from([FINAL_CLOSE, payload.length]), payload])
  const mask = randomBytes(MASK_BYTES)
  for (let index = 0; index < payload.length; index++) payload[index]! ^= mask[index % MASK_BYTES]!
  return Buffer.concat([Buffer.from([FINAL_CLOSE, MASKED | payload.length]), mask, payload])
}
