/** Larger integers than any length or index we accept: an attack or an error. */
const INTEGER_MAX = 2 ** 28
/** Octets behind the prefix; RFC 7541 §5.1 lets a decoder limit them. */
const CONTINUATIONS_MAX = 5

/** Why `readInteger` returned a negative number. */
export const IntegerFault = { TRUNCATED: -1, TOO_LARGE: -2 } as const

/** Reads HPACK's integers; keeps where the last one ended, so that no object is needed per number. */
export class IntegerReader {
  /** Offset behind the integer read last. */
  end = 0

  /** The integer whose prefix of `prefixBits` bits is in `bytes[at]`, or an `IntegerFault`. */
  read(bytes: Uint8Array, at: number, limit: number, prefixBits: number): number {
    if (at >= limit) return IntegerFault.TRUNCATED
    const mask = (1 << prefixBits) - 1
    let value = bytes[at]! & mask
    let pos = at + 1
    if (value < mask) {
      this.end = pos
      return value
    }
    for (let i = 0; i < CONTINUATIONS_MAX; i++) {
      if (pos >= limit) return IntegerFault.TRUNCATED
      const octet = bytes[pos++]!
      // Multiplied, not shifted: 7 × 4 bits more than the prefix would overflow 32.
      value += (octet & 0x7f) * 2 ** (7 * i)
      if (value > INTEGER_MAX) return IntegerFault.TOO_LARGE
      if (octet < 0x80) {
        this.end = pos
        return value
      }
    }
    return IntegerFault.TOO_LARGE
  }
}

/** Writes an integer under the pattern bits `pattern` and returns the offset behind it; at most 6 octets. */
export function writeInteger(out: Uint8Array, at: number, value: number, prefixBits: number, pattern: number): number {
  const mask = (1 << prefixBits) - 1
  if (value < mask) {
    out[at] = pattern | value
    return at + 1
  }
  out[at] = pattern | mask
  let pos = at + 1
  let rest = value - mask
  while (rest >= 0x80) {
    out[pos++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  out[pos++] = rest
  return pos
}
