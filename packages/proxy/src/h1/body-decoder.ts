import { HEX_VALUE } from './char-tables.ts'
import { type FieldTable, FieldTable as Table } from './field-table.ts'
import { type HeadLimits, HeadScanner, Scan } from './head-scanner.ts'

/** How the end of a body is known. */
export const Framing = { NONE: 0, LENGTH: 1, CHUNKED: 2, UNTIL_CLOSE: 3 } as const

const SIZE_FIRST = 0
const SIZE = 1
const EXTENSION = 2
const SIZE_LF = 3
const DATA = 4
const DATA_CR = 5
const DATA_LF = 6
const TRAILERS = 7

const CR = 0x0d
const LF = 0x0a
const SEMICOLON = 0x3b
const CHUNK_SIZE_DIGITS_MAX = 8
/** Extension bytes of one whole body: nobody uses them, and unbounded ones are a known way to burn a proxy's CPU. */
const CHUNK_EXTENSION_BYTES_MAX = 4096
const NO_BYTES = Buffer.alloc(0)
const EMPTY_TABLE: FieldTable = new Table([], [])

/**
 * Finds the end of one message body and checks its chunk framing strictly. `decode` may be given any segmentation.
 *
 * Raw relaying: bytes from the start up to `rawEnd` may be sent on as they are. For a chunked body they end with the
 * last-chunk line; then come the trailers (see `trailerText`), unless there are none and the final CRLF was in the same
 * call: then it is part of the raw range and `hasRelayedEnd` says so.
 */
export class BodyDecoder {
  readonly #trailerLimits: HeadLimits
  readonly #trailerTable: FieldTable
  #framing: number = Framing.NONE
  #phase = SIZE_FIRST
  #remaining = 0
  #digits = 0
  #extensionBytes = 0
  #trailerBytes: Buffer = NO_BYTES
  #trailerScanner: HeadScanner | null = null
  isComplete = true
  hasRelayedEnd = false
  /** Offset in the last `decode` call's array up to which bytes may be relayed raw. */
  rawEnd = 0
  /** Non-empty when the framing is broken; the body is then unusable. */
  error = ''

  constructor(trailerBytesMax: number, headFieldsMax: number, trailerTable: FieldTable = EMPTY_TABLE) {
    this.#trailerLimits = { headBytesMax: trailerBytesMax, headFieldsMax, targetBytesMax: 0 }
    this.#trailerTable = trailerTable
  }

  get framing(): number {
    return this.#framing
  }

  /** Bytes still to come of a body of known length. */
  get remaining(): number {
    return this.#remaining
  }

  reset(framing: number, length: number): void {
    this.#framing = framing
    this.#remaining = framing === Framing.LENGTH ? length : 0
    this.#phase = SIZE_FIRST
    this.#digits = 0
    this.#extensionBytes = 0
    if (this.#trailerScanner !== null) {
      this.#trailerScanner = null
      this.#trailerBytes = NO_BYTES
    }
    this.hasRelayedEnd = false
    this.error = ''
    this.isComplete = framing === Framing.NONE || (framing === Framing.LENGTH && length === 0)
  }

  /** The connection ended. True if that is a proper end of this body. */
  endOfInput(): boolean {
    if (this.#framing === Framing.UNTIL_CLOSE) this.isComplete = true
    return this.isComplete
  }

  /**
   * Consumes what belongs to the body.
   *
   * @param onPayload called for each payload range; null for raw relaying
   * @returns the offset behind the last byte consumed
   */
  decode(
    bytes: Buffer,
    start: number,
    end: number,
    onPayload: ((bytes: Buffer, start: number, end: number) => void) | null,
  ): number {
    if (this.#framing === Framing.CHUNKED) return this.#decodeChunked(bytes, start, end, onPayload)
    let stop = end
    if (this.#framing === Framing.LENGTH) {
      stop = Math.min(end, start + this.#remaining)
      this.#remaining -= stop - start
      if (this.#remaining === 0) this.isComplete = true
    } else if (this.#framing === Framing.NONE) {
      stop = start
    }
    this.rawEnd = stop
    if (onPayload !== null && stop > start) onPayload(bytes, start, stop)
    return stop
  }

  /** Name, value and code of each trailer field; empty when there are none. */
  forEachTrailer(callback: (name: string, value: string, code: number) => void): void {
    const scanner = this.#trailerScanner
    if (scanner === null) return
    const text = this.#trailerBytes.toString('latin1')
    for (let i = 0; i < scanner.fieldCount; i++) {
      const at = i * 4
      const name = text.slice(scanner.fields[at]!, scanner.fields[at + 1]!)
      callback(name, text.slice(scanner.fields[at + 2]!, scanner.fields[at + 3]!), scanner.codes[i]!)
    }
  }

  #decodeChunked(
    bytes: Buffer,
    start: number,
    end: number,
    onPayload: ((bytes: Buffer, start: number, end: number) => void) | null,
  ): number {
    let pos = start
    while (pos < end && !this.isComplete && this.error === '') {
      if (this.#phase === DATA) {
        const stop = Math.min(end, pos + this.#remaining)
        if (onPayload !== null) onPayload(bytes, pos, stop)
        this.#remaining -= stop - pos
        pos = stop
        if (this.#remaining === 0) this.#phase = DATA_CR
      } else if (this.#phase === TRAILERS) {
        this.rawEnd = pos
        return this.#decodeTrailers(bytes, pos, end)
      } else {
        this.#framingByte(bytes[pos]!)
        pos += 1
      }
    }
    // The byte that breaks the framing stays here: the other side sees a message cut short, never a malformed one.
    this.rawEnd = this.error === '' ? pos : pos - 1
    return pos
  }

  #framingByte(byte: number): void {
    switch (this.#phase) {
      case SIZE_FIRST:
      case SIZE:
        this.#sizeByte(byte)
        return
      case EXTENSION:
        this.#extensionByte(byte)
        return
      case SIZE_LF:
        if (byte !== LF) {
          this.#fail('a chunk size line ends with CR but no LF')
          return
        }
        this.#phase = this.#remaining === 0 ? TRAILERS : DATA
        return
      case DATA_CR:
        if (byte !== CR) {
          this.#fail('chunk data is not followed by CRLF')
          return
        }
        this.#phase = DATA_LF
        return
      default:
        if (byte !== LF) {
          this.#fail('chunk data is not followed by CRLF')
          return
        }
        this.#phase = SIZE_FIRST
        this.#digits = 0
    }
  }

  #sizeByte(byte: number): void {
    const digit = HEX_VALUE[byte]!
    if (digit !== 255) {
      if (this.#digits === CHUNK_SIZE_DIGITS_MAX) {
        this.#fail('a chunk size has more than 8 digits')
        return
      }
      if (this.#digits === 1 && this.#remaining === 0) {
        this.#fail('a chunk size begins with a superfluous zero')
        return
      }
      this.#remaining = this.#digits === 0 ? digit : this.#remaining * 16 + digit
      this.#digits += 1
      this.#phase = SIZE
    } else if (this.#digits === 0) {
      this.#fail('a chunk size has no hexadecimal digit')
    } else if (byte === CR) {
      this.#phase = SIZE_LF
    } else if (byte === SEMICOLON) {
      this.#phase = EXTENSION
    } else {
      this.#fail('a chunk size is followed by a forbidden character')
    }
  }

  #extensionByte(byte: number): void {
    this.#extensionBytes += 1
    if (byte === CR) this.#phase = SIZE_LF
    else if (byte < 0x20 ? byte !== 9 : byte >= 0x7f) this.#fail('a chunk extension holds a forbidden character')
    else if (this.#extensionBytes > CHUNK_EXTENSION_BYTES_MAX) this.#fail('the chunk extensions are too long')
  }

  #decodeTrailers(bytes: Buffer, pos: number, end: number): number {
    if (this.#trailerScanner === null) {
      if (end - pos >= 2 && bytes[pos] === CR && bytes[pos + 1] === LF) {
        this.rawEnd = pos + 2
        this.hasRelayedEnd = true
        this.isComplete = true
        return pos + 2
      }
      this.#trailerScanner = new HeadScanner('none', this.#trailerLimits, this.#trailerTable)
    }
    const before = this.#trailerBytes.length
    this.#trailerBytes = Buffer.concat([this.#trailerBytes, bytes.subarray(pos, end)])
    const result = this.#trailerScanner.scan(this.#trailerBytes, 0, this.#trailerBytes.length)
    if (result === Scan.MORE) return end
    if (result === Scan.BAD) {
      this.#fail(`trailers: ${this.#trailerScanner.errorMessage}`)
      return end
    }
    this.isComplete = true
    return pos + this.#trailerScanner.headEnd - before
  }

  #fail(message: string): void {
    this.error = message
  }
}
