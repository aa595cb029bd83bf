import { hkdfSync } from 'node:crypto'

/** What Node wants: name, HMAC key and AES key of 16 bytes each. */
const TICKET_KEYS_BYTES = 48
/** A stolen key opens what was resumed with it in this time, of TLS 1.2; 1.3 agrees on fresh keys all the same. */
export const TICKET_ROTATION_MS: number = 12 * 60 * 60 * 1000

/**
 * Keys of session tickets: the same in every process that knows the secret, so that a client resumes its session
 * whichever it meets, and others in each period.
 */
export function deriveTicketKeys(secret: Uint8Array, nowMs: number): Buffer {
  const period = Math.floor(nowMs / TICKET_ROTATION_MS)
  return Buffer.from(hkdfSync('sha256', secret, 'waiter', `tls-tickets v1 ${period}`, TICKET_KEYS_BYTES))
}
