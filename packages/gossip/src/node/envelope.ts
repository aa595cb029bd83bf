import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { ClusterKey } from './keys.ts'

/*
 * A packet: [version u8][key's name 4][sender's clock u48 ms][nonce 8][body][HMAC-SHA256 over all before, 32].
 * Proved before a byte of the body is looked at.
 */
const VERSION = 1
const NAME_AT = 1
const TIME_AT = 5
const NONCE_AT = 11
const BODY_AT = 19
const MAC_BYTES = 32
const NONCE_BYTES = BODY_AT - NONCE_AT

/** Bytes that a packet has beside its body. */
export const ENVELOPE_BYTES: number = BODY_AT + MAC_BYTES
/** No packet is longer, so that none is cut into pieces on the way. */
export const PACKET_BYTES_MAX = 1_400
/** A packet counts so long before and after the receiver's clock. */
const AGE_MS_MAX = 60_000
/** Nonces remembered at a time; with more, only what is newer than the forgotten ones counts. */
const NONCES_MAX = 65_536

/** Why a packet was dropped. */
export type Refusal = 'size' | 'rate' | 'version' | 'key' | 'proof' | 'time' | 'replay' | 'malformed'

/** Seals and opens packets. */
export class Envelope {
  readonly #keys: ReadonlyMap<string, ClusterKey>
  readonly #newest: ClusterKey
  readonly #clockMs: () => number
  #seen = new Set<string>()
  #seenBefore = new Set<string>()
  /** The latest clock among the packets in each set. */
  #latestMs = 0
  #latestBeforeMs = 0
  /** What is not later may have been seen and forgotten. */
  #floorMs = 0
  readonly #noncesMax: number

  /** @param keys the first seals; all open */
  constructor(keys: readonly [ClusterKey, ...ClusterKey[]], clockMs: () => number, noncesMax: number = NONCES_MAX) {
    this.#noncesMax = noncesMax
    this.#newest = keys[0]
    this.#keys = new Map(keys.map(key => [key.name, key]))
    this.#clockMs = clockMs
    // An earlier life of this process may have seen what was sent before.
    this.#floorMs = clockMs() - 1
  }

  seal(body: string): Buffer {
    const packet = Buffer.allocUnsafe(ENVELOPE_BYTES + body.length)
    packet[0] = VERSION
    packet.write(this.#newest.name, NAME_AT, 'hex')
    packet.writeUIntBE(Math.floor(this.#clockMs()), TIME_AT, NONCE_AT - TIME_AT)
    randomBytes(NONCE_BYTES).copy(packet, NONCE_AT)
    packet.write(body, BODY_AT, 'latin1')
    const macAt = packet.length - MAC_BYTES
    proofOf(packet.subarray(0, macAt), this.#newest).copy(packet, macAt)
    return packet
  }

  /** The body, or why there is none. */
  open(packet: Buffer): { readonly body: string } | { readonly refusal: Refusal } {
    if (packet.length < ENVELOPE_BYTES || packet.length > PACKET_BYTES_MAX) return { refusal: 'size' }
    if (packet[0] !== VERSION) return { refusal: 'version' }
    const key = this.#keys.get(packet.toString('hex', NAME_AT, TIME_AT))
    if (key === undefined) return { refusal: 'key' }
    const macAt = packet.length - MAC_BYTES
    const isProved = timingSafeEqual(proofOf(packet.subarray(0, macAt), key), packet.subarray(macAt))
    if (!isProved) return { refusal: 'proof' }
    const sentAtMs = packet.readUIntBE(TIME_AT, NONCE_AT - TIME_AT)
    if (Math.abs(sentAtMs - this.#clockMs()) > AGE_MS_MAX || sentAtMs <= this.#floorMs) return { refusal: 'time' }
    if (!this.#isFirst(packet.toString('latin1', NONCE_AT, BODY_AT), sentAtMs)) return { refusal: 'replay' }
    return { body: packet.toString('latin1', BODY_AT, macAt) }
  }

  /** Remembers in two halves: when one is full the older one goes, and with it everything that is as old. */
  #isFirst(nonce: string, sentAtMs: number): boolean {
    if (this.#seen.has(nonce) || this.#seenBefore.has(nonce)) return false
    if (this.#seen.size >= this.#noncesMax / 2) {
      this.#forgetHalf()
      if (sentAtMs <= this.#floorMs) return false
    }
    this.#seen.add(nonce)
    this.#latestMs = Math.max(this.#latestMs, sentAtMs)
    return true
  }

  #forgetHalf(): void {
    // Whatever of it would still be young enough to count again is kept out by its time instead.
    this.#floorMs = Math.max(this.#floorMs, this.#latestBeforeMs)
    this.#seenBefore = this.#seen
    this.#latestBeforeMs = this.#latestMs
    this.#seen = new Set()
    this.#latestMs = 0
  }
}

function proofOf(bytes: Buffer, key: ClusterKey): Buffer {
  return createHmac('sha256', key.packets).update(bytes).digest()
}
