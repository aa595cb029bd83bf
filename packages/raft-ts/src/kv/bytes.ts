import { assert } from '@waiter/base'

// Web globals that every JavaScript engine with an event loop has; declared here because pure packages know no platform.
declare const TextEncoder: new () => { encode(text: string): Uint8Array }
declare const TextDecoder: new (label: string, options: { fatal: boolean }) => { decode(bytes: Uint8Array): string }

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })
const INITIAL_BYTES = 128

/** Text as UTF-8. */
export function encodeText(text: string): Uint8Array {
  return encoder.encode(text)
}

/** Writes varints, texts and byte strings one after another into a growing buffer. */
export class ByteWriter {
  #buffer: Uint8Array
  #length = 0

  constructor(initialBytes: number = INITIAL_BYTES) {
    this.#buffer = new Uint8Array(initialBytes)
  }

  get length(): number {
    return this.#length
  }

  /** A safe integer >= 0 as base-128 groups, low first. */
  varint(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, `not an unsigned safe integer: ${value}`)
    this.#reserve(8)
    let rest = value
    while (rest >= 128) {
      this.#buffer[this.#length++] = (rest % 128) | 128
      rest = Math.floor(rest / 128)
    }
    this.#buffer[this.#length++] = rest
    return this
  }

  /** Length, then the bytes. */
  bytes(bytes: Uint8Array): this {
    this.varint(bytes.length)
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
    return this
  }

  /** Length in bytes, then UTF-8. */
  text(text: string): this {
    return this.bytes(encoder.encode(text))
  }

  /** What has been written so far. */
  finish(): Uint8Array {
    return this.#buffer.slice(0, this.#length)
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes
    if (needed <= this.#buffer.length) return
    const larger = new Uint8Array(Math.max(needed, this.#buffer.length * 2))
    larger.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = larger
  }
}

/** Bytes that do not say what they should. Its message names the place. */
export class MalformedBytes extends Error {
  override readonly name: string = 'MalformedBytes'
}

/** Reads what a `ByteWriter` wrote; never past the end. */
export class ByteReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  /** @throws {MalformedBytes} when the number is cut off or beyond the safe integers */
  varint(): number {
    let value = 0
    let unit = 1
    for (;;) {
      const byte = this.#bytes[this.#at++]
      if (byte === undefined) throw new MalformedBytes(`number cut off at byte ${this.#at - 1}`)
      value += (byte & 127) * unit
      if (!Number.isSafeInteger(value)) throw new MalformedBytes(`number too large at byte ${this.#at - 1}`)
      if (byte < 128) return value
      unit *= 128
    }
  }

  /** @throws {MalformedBytes} when fewer bytes are left than announced */
  bytes(): Uint8Array {
    const length = this.varint()
    const end = this.#at + length
    if (end > this.#bytes.length) throw new MalformedBytes(`${length} bytes announced at ${this.#at}, fewer are left`)
    const bytes = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return bytes
  }

  /** @throws {MalformedBytes} when it is not UTF-8 */
  text(): string {
    const bytes = this.bytes()
    try {
      return decoder.decode(bytes)
    } catch {
      throw new MalformedBytes(`text before byte ${this.#at} is not UTF-8`)
    }
  }
}
