/** A longer value says less than it costs: cut, so that one client cannot fill the log. */
const VALUE_CHARS_MAX = 2 * 1024
const CUT_MARK = '...'
/** Escaped, a character takes up to six bytes (`\u00fc`). */
const VALUE_BYTES_MAX = (VALUE_CHARS_MAX + CUT_MARK.length) * 6 + 2
const LINE_BYTES_MAX = 128 * 1024
/** Kept free of values, for what we write ourselves. */
const RESERVE_BYTES = 16 * 1024
const VALUES_END_MAX = LINE_BYTES_MAX - RESERVE_BYTES
/** From here on one native call is cheaper than a loop. */
const LONG_CHARS = 24
const COPY_BYTES = 48
const BEYOND_ASCII = /[\x7f-\uffff]/g
const QUOTE = 0x22
const BACKSLASH = 0x5c
const SPACE = 0x20
const TILDE = 0x7e
const DIGIT_ZERO = 0x30
const LF = 0x0a
/** Up to here arithmetic is on small integers. */
const SMALL_MAX = 2 ** 30
const HEX = 16

/**
 * Puts a JSON line together in memory of its own, byte by byte: no string is made and nothing is allocated. All bytes
 * are ASCII, so that no value can begin a line or end one.
 */
export class LineWriter {
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(LINE_BYTES_MAX)
  length = 0

  begin(): void {
    this.length = 0
  }

  /** JSON that is ready. */
  raw(ready: Uint8Array): void {
    const { bytes } = this
    const { length } = ready
    if (this.length + length > LINE_BYTES_MAX) return
    if (length >= COPY_BYTES) bytes.set(ready, this.length)
    else for (let i = 0; i < length; i++) bytes[this.length + i] = ready[i]!
    this.length += length
  }

  /** A whole number, not below zero. */
  int(value: number): void {
    if (value >= SMALL_MAX || value < 0) {
      this.#ascii(String(value))
      return
    }
    const { bytes } = this
    let rest = value | 0
    let digits = 1
    for (let limit = 10; rest >= limit && digits < 10; limit *= 10) digits += 1
    for (let at = this.length + digits - 1; at >= this.length; at--) {
      const tenth = (rest / 10) | 0
      bytes[at] = DIGIT_ZERO + rest - tenth * 10
      rest = tenth
    }
    this.length += digits
  }

  /** A quoted string. */
  text(value: string): void {
    this.#quote(value, value.length <= VALUE_CHARS_MAX && this.#plain(value), false)
  }

  /** A quoted string that came from the wire, a character for each byte: read as UTF-8, which is what clients mean. */
  wire(value: string): void {
    const { length } = value
    if (length > VALUE_CHARS_MAX) this.#quote(value, false, true)
    else this.#quote(value, length < LONG_CHARS ? this.#plain(value) : this.#plainBytes(value), true)
  }

  /** Ends the line. */
  end(): void {
    this.bytes[this.length] = LF
    this.length += 1
  }

  /** Adds what `#plain` has written already, or the value escaped. */
  #quote(value: string, isWritten: boolean, isWire: boolean): void {
    if (isWritten) {
      this.bytes[this.length] = QUOTE
      this.bytes[this.length + value.length + 1] = QUOTE
      this.length += value.length + 2
    } else {
      const isRoom = this.length + VALUE_BYTES_MAX <= VALUES_END_MAX
      this.#ascii(isRoom ? (isWire ? wireToAsciiJson(value) : toAsciiJson(value)) : `"${CUT_MARK}"`)
    }
  }

  /** Writes a value behind the place of its quote; false when it needs escaping, or there is no room. */
  #plain(value: string): boolean {
    const { bytes } = this
    const { length } = value
    const from = this.length + 1
    if (from + length > VALUES_END_MAX) return false
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i)
      if (code < SPACE || code > TILDE || code === QUOTE || code === BACKSLASH) return false
      bytes[from + i] = code
    }
    return true
  }

  /** The same for a long value of one byte per character. */
  #plainBytes(value: string): boolean {
    const { bytes } = this
    const from = this.length + 1
    const to = from + value.length
    if (to > VALUES_END_MAX) return false
    bytes.write(value, from, 'latin1')
    for (let at = from; at < to; at++) {
      const code = bytes[at]!
      if (code < SPACE || code > TILDE || code === QUOTE || code === BACKSLASH) return false
    }
    return true
  }

  #ascii(text: string): void {
    this.length += this.bytes.write(text, this.length, 'latin1')
  }
}

/** A JSON string, quotes included, in ASCII; cut if it is long. */
export function toAsciiJson(text: string): string {
  return JSON.stringify(cut(text)).replace(
    BEYOND_ASCII,
    character => `\\u${character.charCodeAt(0).toString(HEX).padStart(4, '0')}`,
  )
}

/** The same of text from the wire, as `LineWriter.wire` writes it. */
export function wireToAsciiJson(latin1: string): string {
  return toAsciiJson(Buffer.from(cut(latin1), 'latin1').toString('utf8'))
}

/** JSON of our own, ready for `LineWriter.raw`. */
export function ready(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'latin1'))
}

function cut(text: string): string {
  return text.length <= VALUE_CHARS_MAX ? text : text.slice(0, VALUE_CHARS_MAX) + CUT_MARK
}
