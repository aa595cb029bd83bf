import { HUFFMAN_LENGTHS } from './huffman-lengths.ts'

const EOS = 256
const CODE_BITS_MAX = 30
/** Bits looked up at once; every code for an ordinary character fits. */
const PEEK_BITS = 8

/** Codes by octet, and by length the first code and where its symbols begin: the canonical form. */
const CODES = new Uint32Array(EOS + 1)
const SYMBOLS = new Uint16Array(EOS + 1)
const FIRST_CODE = new Uint32Array(CODE_BITS_MAX + 1)
const FIRST_INDEX = new Uint16Array(CODE_BITS_MAX + 1)
const COUNT = new Uint16Array(CODE_BITS_MAX + 1)
/** Symbol and length (`symbol << 4 | bits`) by the next eight bits; 0 when the code is longer. */
const PEEK = new Uint16Array(1 << PEEK_BITS)
const LENGTHS = Uint8Array.from(HUFFMAN_LENGTHS)

build()

function build(): void {
  let code = 0
  let index = 0
  for (let bits = 1; bits <= CODE_BITS_MAX; bits++) {
    code *= 2
    FIRST_CODE[bits] = code
    FIRST_INDEX[bits] = index
    for (let symbol = 0; symbol <= EOS; symbol++) {
      if (LENGTHS[symbol] !== bits) continue
      CODES[symbol] = code
      SYMBOLS[index] = symbol
      if (bits <= PEEK_BITS) {
        const shift = PEEK_BITS - bits
        PEEK.fill((symbol << 4) | bits, code << shift, (code + 1) << shift)
      }
      code += 1
      index += 1
    }
    COUNT[bits] = index - FIRST_INDEX[bits]!
  }
}

/** Octets `text` (Latin-1) takes when Huffman coded. */
export function huffmanLength(text: string): number {
  let bits = 0
  for (let i = 0; i < text.length; i++) bits += LENGTHS[text.charCodeAt(i) & 0xff]!
  return (bits + 7) >>> 3
}

/** Writes `text` (Latin-1) and returns the offset behind it; `huffmanLength` tells how much room that takes. */
export function huffmanEncode(text: string, out: Uint8Array, at: number): number {
  let pos = at
  // At most 7 bits are left over from the symbol before, so 37 may be in hand: too many for one integer.
  let pending = 0
  let pendingBits = 0
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i) & 0xff
    const code = CODES[symbol]!
    let left = LENGTHS[symbol]!
    while (left > 0) {
      const taken = Math.min(left, 8 - pendingBits)
      left -= taken
      pending = (pending << taken) | ((code >>> left) & ((1 << taken) - 1))
      pendingBits += taken
      if (pendingBits === 8) {
        out[pos++] = pending
        pending = 0
        pendingBits = 0
      }
    }
  }
  if (pendingBits > 0) out[pos++] = (pending << (8 - pendingBits)) | (0xff >>> pendingBits)
  return pos
}

/** Room that decoding `length` octets can take: the shortest code has 5 bits. */
export function huffmanDecodedMax(length: number): number {
  return Math.floor((length * 8) / 5) + 1
}

/**
 * Decodes into `out` and returns the number of octets, or -1 for what RFC 7541 §5.2 forbids: EOS inside, padding of
 * more than 7 bits, padding that is not all ones.
 */
export function huffmanDecode(bytes: Uint8Array, start: number, end: number, out: Uint8Array): number {
  const endBit = (end - start) * 8
  let bit = 0
  let length = 0
  while (bit < endBit) {
    const at = start + (bit >>> 3)
    const next = at + 1 < end ? bytes[at + 1]! : 0xff
    const peeked = PEEK[(((bytes[at]! << 8) | next) >>> (8 - (bit & 7))) & 0xff]!
    if (peeked !== 0 && bit + (peeked & 15) <= endBit) {
      bit += peeked & 15
      out[length++] = peeked >>> 4
      continue
    }
    if (endBit - bit < 8 && isPadding(bytes[end - 1]!, endBit - bit)) return length
    const long = decodeLong(bytes, start, bit, endBit)
    if (long < 0) return -1
    bit += long >>> 9
    out[length++] = long & 0x1ff
  }
  return length
}

function isPadding(last: number, bits: number): boolean {
  const mask = (1 << bits) - 1
  return (last & mask) === mask
}

/** One symbol of more than eight bits: `bits << 9 | symbol`, or -1. Rare, hence bit by bit. */
function decodeLong(bytes: Uint8Array, start: number, bit: number, endBit: number): number {
  let code = 0
  for (let bits = 1; bits <= CODE_BITS_MAX && bit + bits <= endBit; bits++) {
    const position = bit + bits - 1
    code = code * 2 + ((bytes[start + (position >>> 3)]! >>> (7 - (position & 7))) & 1)
    const offset = code - FIRST_CODE[bits]!
    if (offset >= 0 && offset < COUNT[bits]!) {
      const symbol = SYMBOLS[FIRST_INDEX[bits]! + offset]!
      return symbol === EOS ? -1 : bits * 512 + symbol
    }
  }
  return -1
}
