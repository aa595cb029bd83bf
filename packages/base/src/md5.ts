/**
 * MD5 of a string's UTF-8 bytes as 32 lower-case hex digits (RFC 1321).
 *
 * Names things (service ids, etags); never protects them. Lone surrogates count as U+FFFD, as in every UTF-8 encoder.
 * Pure code cannot use the runtime's hash, hence this one; about 1 µs per 100 characters.
 */
export function md5(text: string): string {
  const words = paddedWords(text)
  const state = new Int32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476])
  for (let offset = 0; offset < words.length; offset += WORDS_PER_BLOCK) mixBlock(state, words, offset)
  let hex = ''
  for (const word of state) {
    for (let shift = 0; shift < 32; shift += 8) hex += ((word >>> shift) & 0xff).toString(16).padStart(2, '0')
  }
  return hex
}

const WORDS_PER_BLOCK = 16
const ROUNDS = 64
const REPLACEMENT_CHARACTER = 0xfffd
const ROTATIONS: readonly number[] = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21]
const SINES = Int32Array.from({ length: ROUNDS }, (_, round) => Math.floor(Math.abs(Math.sin(round + 1)) * 2 ** 32))

/** The message as little-endian words: UTF-8 bytes, a 1 bit, zeros, the length in bits (as 64 bits). */
function paddedWords(text: string): Int32Array {
  const byteLengthMax = text.length * 3
  const words = new Int32Array(((byteLengthMax + 8) >>> 6) * WORDS_PER_BLOCK + WORDS_PER_BLOCK)
  let length = 0
  const push = (byte: number): void => {
    words[length >>> 2]! |= byte << ((length & 3) << 3)
    length++
  }
  for (let index = 0; index < text.length; index++) {
    let code = text.codePointAt(index)!
    if (code > 0xffff) index++
    if (code >= 0xd800 && code <= 0xdfff) code = REPLACEMENT_CHARACTER
    if (code < 0x80) push(code)
    else pushMultibyte(code, push)
  }
  const byteLength = length
  push(0x80)
  const blocks = ((byteLength + 8) >>> 6) + 1
  const used = words.subarray(0, blocks * WORDS_PER_BLOCK)
  used[used.length - 2] = byteLength << 3
  used[used.length - 1] = byteLength >>> 29
  return used
}

function pushMultibyte(code: number, push: (byte: number) => void): void {
  if (code < 0x800) push(0xc0 | (code >> 6))
  else {
    if (code < 0x10000) push(0xe0 | (code >> 12))
    else {
      push(0xf0 | (code >> 18))
      push(0x80 | ((code >> 12) & 0x3f))
    }
    push(0x80 | ((code >> 6) & 0x3f))
  }
  push(0x80 | (code & 0x3f))
}

function mixBlock(state: Int32Array, words: Int32Array, offset: number): void {
  let a = state[0]!
  let b = state[1]!
  let c = state[2]!
  let d = state[3]!
  for (let round = 0; round < ROUNDS; round++) {
    const quarter = round >>> 4
    let mixed: number
    let source: number
    if (quarter === 0) {
      mixed = (b & c) | (~b & d)
      source = round
    } else if (quarter === 1) {
      mixed = (d & b) | (~d & c)
      source = (5 * round + 1) & 15
    } else if (quarter === 2) {
      mixed = b ^ c ^ d
      source = (3 * round + 5) & 15
    } else {
      mixed = c ^ (b | ~d)
      source = (7 * round) & 15
    }
    const sum = (((a + mixed) | 0) + ((SINES[round]! + words[offset + source]!) | 0)) | 0
    const rotation = ROTATIONS[(quarter << 2) | (round & 3)]!
    a = d
    d = c
    c = b
    b = (b + ((sum << rotation) | (sum >>> (32 - rotation)))) | 0
  }
  state[0] = state[0]! + a
  state[1] = state[1]! + b
  state[2] = state[2]! + c
  state[3] = state[3]! + d
}
