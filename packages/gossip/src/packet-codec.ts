import type { Claim } from './member.ts'
import type { Packet } from './message.ts'
import {
  claimToWire,
  MalformedMessage,
  parseAddress,
  parseClaims,
  parseCount,
  parseId,
  parseJsonList,
} from './parse.ts'

/** More fit into no packet. */
const CLAIMS_MAX = 128
const UINT32_MAX = 0xffff_ffff

/** W1: a packet as ASCII text, one JSON list. */
export function encodePacket(packet: Packet): string {
  const claims = packet.claims.map(claimToWire)
  switch (packet.kind) {
    case 'ping':
      return JSON.stringify(['p', packet.from, claims, packet.sequence, packet.to, packet.view])
    case 'ack':
      return JSON.stringify(['a', packet.from, claims, packet.sequence, packet.view])
    case 'nack':
      return JSON.stringify(['n', packet.from, claims, packet.sequence])
    case 'pingReq':
      return JSON.stringify(['q', packet.from, claims, packet.sequence, packet.to, packet.address])
    case 'gossip':
      return JSON.stringify(['g', packet.from, claims])
  }
}

/**
 * W2: strict; what does not follow the format is dropped whole.
 *
 * @throws {MalformedMessage}
 */
export function parsePacket(text: string): Packet {
  const [kind, rawFrom, rawClaims, sequence, second, third, ...rest] = parseJsonList(text)
  if (rest.length > 0) throw new MalformedMessage('too many fields')
  const from = parseId(rawFrom)
  const claims = parseClaims(rawClaims, CLAIMS_MAX)
  switch (kind) {
    case 'p':
      return {
        kind: 'ping',
        from,
        claims,
        sequence: parseCount(sequence),
        to: parseId(second),
        view: parseCount(third, UINT32_MAX),
      }
    case 'a':
      return { kind: 'ack', from, claims, sequence: parseCount(sequence), view: parseCount(second, UINT32_MAX) }
    case 'n':
      return { kind: 'nack', from, claims, sequence: parseCount(sequence) }
    case 'q':
      return {
        kind: 'pingReq',
        from,
        claims,
        sequence: parseCount(sequence),
        to: parseId(second),
        address: parseAddress(third),
      }
    case 'g':
      return { kind: 'gossip', from, claims }
    default:
      throw new MalformedMessage('unknown kind')
  }
}

/** Bytes that a claim adds to a packet: ASCII by construction (W1). */
export function claimBytes(claim: Claim): number {
  return JSON.stringify(claimToWire(claim)).length + 1
}
