import { HEX_VALUE, IS_TARGET, IS_TOKEN, IS_VALUE } from './char-tables.ts'
import type { FieldTable } from './field-table.ts'

/** What a scan came to. */
export const Scan = { MORE: 0, DONE: 1, BAD: 2 } as const

/** What a scanner expects before the fields. */
export type StartLine = 'request' | 'response' | 'none'

/** Bounds of one head. */
export interface HeadLimits {
  readonly headBytesMax: number
  readonly headFieldsMax: number
  readonly targetBytesMax: number
}

const START = 0
const METHOD = 1
const TARGET = 2
const VERSION = 3
const STATUS = 4
const REASON = 5
const LINE_START = 6
const NAME = 7
const BLANKS = 8
const VALUE = 9
const LINE_END = 10
const FINAL_LF = 11
const START_LF = 12

const CR = 0x0d
const LF = 0x0a
const SP = 0x20
const HTAB = 0x09
const COLON = 0x3a
const DEL = 0x7f
const METHOD_BYTES_MAX = 32
const REQUEST_VERSION = [...'HTTP/1.x\r\n'].map(char => char.charCodeAt(0))
const RESPONSE_VERSION = [...'HTTP/1.x '].map(char => char.charCodeAt(0))
/** Place of the minor version digit in both. */
const MINOR_AT = 7

/**
 * Strict, resumable scanner of one message head (RFC 9112 §2–5). It never looks at a byte more than twice, so any
 * segmentation of the same bytes gives the same result in linear time.
 *
 * `scan` is called with the same first byte (`base`) and a growing end. All results are offsets from `base`; they are
 * overwritten by the next head, `generation` tells when.
 */
export class HeadScanner {
  readonly #startLine: StartLine
  readonly #limits: HeadLimits
  readonly #table: FieldTable
  #phase: number = START
  #pos = 0
  #mark = 0
  /** name start, name end, value start, value end for each field. */
  readonly fields: Int32Array
  /** `FieldCode` of each field. */
  readonly codes: Uint8Array
  fieldCount = 0
  /** Offset behind the blank line. */
  headEnd = 0
  /** Offset of the first byte of the start line (behind one ignored empty line). */
  startOffset = 0
  methodEnd = 0
  targetEnd = 0
  minorVersion = 1
  status = 0
  reasonStart = 0
  reasonEnd = 0
  /** Why the head is bad, and the status to answer. */
  errorStatus = 0
  errorMessage = ''
  generation = 0

  constructor(startLine: StartLine, limits: HeadLimits, table: FieldTable) {
    this.#startLine = startLine
    this.#limits = limits
    this.#table = table
    this.fields = new Int32Array(limits.headFieldsMax * 4)
    this.codes = new Uint8Array(limits.headFieldsMax)
    this.reset()
  }

  /** True once a byte of a start line was seen and the head is not complete. */
  get isInside(): boolean {
    return this.#phase !== START
  }

  reset(): void {
    this.#phase = this.#startLine === 'none' ? LINE_START : START
    this.#pos = 0
    this.#mark = 0
    this.fieldCount = 0
    this.startOffset = 0
    this.generation += 1
  }

  scan(bytes: Uint8Array, base: number, end: number): number {
    const limit = Math.min(end - base, this.#limits.headBytesMax)
    let result: number = Scan.MORE
    while (result === Scan.MORE && this.#pos < limit) {
      result = this.#step(bytes, base, limit)
    }
    if (result !== Scan.MORE) return result
    if (this.#pos >= this.#limits.headBytesMax) {
      return this.#bad(431, `the head is longer than ${this.#limits.headBytesMax} bytes`)
    }
    return Scan.MORE
  }

  /** One phase, from at least one available byte. A flat dispatch over the grammar. */
  #step(bytes: Uint8Array, base: number, limit: number): number {
    switch (this.#phase) {
      case NAME:
        return this.#name(bytes, base, limit)
      case BLANKS:
        return this.#blanks(bytes, base, limit)
      case VALUE:
        return this.#value(bytes, base, limit)
      case LINE_END:
        if (bytes[base + this.#pos] !== LF) return this.#bad(400, 'a line ends with CR but no LF')
        return this.#go(LINE_START)
      case LINE_START:
        if (this.#wholeFields(bytes, base, limit)) return Scan.MORE
        return this.#lineStart(bytes[base + this.#pos]!)
      case FINAL_LF:
        if (bytes[base + this.#pos] !== LF) return this.#bad(400, 'the head ends with CR but no LF')
        this.headEnd = this.#pos + 1
        return Scan.DONE
      case START:
        return this.#start(bytes[base + this.#pos]!)
      case START_LF:
        if (bytes[base + this.#pos] !== LF) return this.#bad(400, 'a bare CR before the request line')
        this.startOffset = 2
        return this.#go(METHOD)
      case METHOD:
        return this.#method(bytes, base, limit)
      case TARGET:
        return this.#target(bytes, base, limit)
      case VERSION:
        return this.#version(bytes, base, limit)
      case STATUS:
        return this.#statusCode(bytes, base, limit)
      default:
        return this.#reason(bytes, base, limit)
    }
  }

  #bad(status: number, message: string): number {
    this.errorStatus = status
    this.errorMessage = message
    return Scan.BAD
  }

  /** Steps over the present byte into a phase whose token begins behind it. */
  #go(phase: number): number {
    this.#pos += 1
    this.#mark = this.#pos
    this.#phase = phase
    return Scan.MORE
  }

  #start(byte: number): number {
    if (this.#startLine === 'response') {
      this.#phase = VERSION
      return Scan.MORE
    }
    // RFC 9112 §2.2: one empty line before a request line is forgiven.
    if (byte === CR) return this.#go(START_LF)
    this.#phase = METHOD
    return Scan.MORE
  }

  #method(bytes: Uint8Array, base: number, limit: number): number {
    let pos = this.#pos
    while (pos < limit && IS_TOKEN[bytes[base + pos]!] === 1) pos++
    this.#pos = pos
    if (pos - this.#mark > METHOD_BYTES_MAX) return this.#bad(400, 'the method is too long')
    if (pos === limit) return Scan.MORE
    if (bytes[base + pos] !== SP || pos === this.#mark) return this.#bad(400, 'the request line has no valid method')
    this.methodEnd = pos
    return this.#go(TARGET)
  }

  #target(bytes: Uint8Array, base: number, limit: number): number {
    const cap = Math.min(limit, this.#mark + this.#limits.targetBytesMax + 1)
    let pos = this.#pos
    while (pos < cap && IS_TARGET[bytes[base + pos]!] === 1) pos++
    this.#pos = pos
    if (pos - this.#mark > this.#limits.targetBytesMax) {
      return this.#bad(414, `the request target is longer than ${this.#limits.targetBytesMax} bytes`)
    }
    if (pos === limit) return Scan.MORE
    if (bytes[base + pos] !== SP || pos === this.#mark) return this.#bad(400, 'the request line has no valid target')
    this.targetEnd = pos
    return this.#go(VERSION)
  }

  #version(bytes: Uint8Array, base: number, limit: number): number {
    const isRequest = this.#startLine === 'request'
    const template = isRequest ? REQUEST_VERSION : RESPONSE_VERSION
    while (this.#pos < limit) {
      const index = this.#pos - this.#mark
      const byte = bytes[base + this.#pos]!
      if (index === MINOR_AT) {
        if (byte !== 0x30 && byte !== 0x31)
          return this.#bad(isRequest ? 505 : 400, 'the version is not HTTP/1.0 or 1.1')
        this.minorVersion = byte - 0x30
      } else if (byte !== template[index]) {
        return this.#bad(400, 'the start line has no valid version, or blanks where none may be')
      }
      if (index === template.length - 1) return this.#go(isRequest ? LINE_START : STATUS)
      this.#pos += 1
    }
    return Scan.MORE
  }

  #statusCode(bytes: Uint8Array, base: number, limit: number): number {
    while (this.#pos < limit) {
      const index = this.#pos - this.#mark
      const byte = bytes[base + this.#pos]!
      if (index < 3) {
        const digit = HEX_VALUE[byte]!
        if (digit > 9) return this.#bad(400, 'the status is not three digits')
        this.status = index === 0 ? digit : this.status * 10 + digit
        this.#pos += 1
        continue
      }
      if (this.status < 100 || this.status > 599) return this.#bad(400, 'the status is not within 100 to 599')
      if (byte === SP) {
        this.reasonStart = this.#pos + 1
        return this.#go(REASON)
      }
      // A missing blank before an absent reason is common and harmless: we render the line anew.
      if (byte !== CR) return this.#bad(400, 'the status is not three digits')
      this.reasonStart = this.#pos
      this.reasonEnd = this.#pos
      return this.#go(LINE_END)
    }
    return Scan.MORE
  }

  #reason(bytes: Uint8Array, base: number, limit: number): number {
    let pos = this.#pos
    while (pos < limit && IS_VALUE[bytes[base + pos]!] === 1) pos++
    this.#pos = pos
    if (pos === limit) return Scan.MORE
    if (bytes[base + pos] !== CR) return this.#bad(400, 'the reason holds a control character or a bare LF')
    this.reasonEnd = pos
    return this.#go(LINE_END)
  }

  #lineStart(byte: number): number {
    if (byte === CR) return this.#go(FINAL_LF)
    if (byte === SP || byte === HTAB) return this.#bad(400, 'a folded line or a blank before a field name')
    if (this.fieldCount === this.#limits.headFieldsMax) {
      return this.#bad(431, `more than ${this.#limits.headFieldsMax} header fields`)
    }
    this.#mark = this.#pos
    this.#phase = NAME
    return Scan.MORE
  }

  /**
   * Takes field lines that have arrived whole and are written in the usual way. Everything else is left to the steps,
   * which know what is wrong with it, if anything. True when it got on.
   */
  #wholeFields(bytes: Uint8Array, base: number, limit: number): boolean {
    const { fields, codes } = this
    const end = base + limit
    const countMax = this.#limits.headFieldsMax
    const firstLine = base + this.#pos
    let lineStart = firstLine
    let count = this.fieldCount
    while (count < countMax) {
      let pos = lineStart
      while (pos < end && IS_TOKEN[bytes[pos]!] === 1) pos++
      const nameEnd = pos
      if (nameEnd === lineStart || nameEnd + 2 >= end || bytes[nameEnd] !== COLON) break
      pos = bytes[nameEnd + 1] === SP ? nameEnd + 2 : nameEnd + 1
      const valueStart = pos
      // The loop runs over most of a head's bytes: comparisons cost half of what a table does.
      while (pos < end && bytes[pos]! >= SP && bytes[pos] !== DEL) pos++
      if (pos + 1 >= end || bytes[pos] !== CR || bytes[pos + 1] !== LF) break
      if (valueStart < pos && (bytes[valueStart] === SP || bytes[pos - 1] === SP)) break
      const at = count * 4
      fields[at] = lineStart - base
      fields[at + 1] = nameEnd - base
      fields[at + 2] = valueStart - base
      fields[at + 3] = pos - base
      codes[count] = this.#table.codeOf(bytes, lineStart, nameEnd)
      count += 1
      lineStart = pos + 2
    }
    this.fieldCount = count
    this.#pos = lineStart - base
    return lineStart > firstLine
  }

  #name(bytes: Uint8Array, base: number, limit: number): number {
    let pos = this.#pos
    while (pos < limit && IS_TOKEN[bytes[base + pos]!] === 1) pos++
    this.#pos = pos
    if (pos === limit) return Scan.MORE
    if (bytes[base + pos] !== COLON || pos === this.#mark) return this.#bad(400, 'a field name is empty or not a token')
    const at = this.fieldCount * 4
    this.fields[at] = this.#mark
    this.fields[at + 1] = pos
    this.codes[this.fieldCount] = this.#table.codeOf(bytes, base + this.#mark, base + pos)
    return this.#go(BLANKS)
  }

  #blanks(bytes: Uint8Array, base: number, limit: number): number {
    let pos = this.#pos
    while (pos < limit && (bytes[base + pos] === SP || bytes[base + pos] === HTAB)) pos++
    this.#pos = pos
    if (pos === limit) return Scan.MORE
    this.#mark = pos
    this.#phase = VALUE
    return Scan.MORE
  }

  #value(bytes: Uint8Array, base: number, limit: number): number {
    let pos = this.#pos
    while (pos < limit && IS_VALUE[bytes[base + pos]!] === 1) pos++
    this.#pos = pos
    if (pos === limit) return Scan.MORE
    if (bytes[base + pos] !== CR) return this.#bad(400, 'a field value holds a control character or a bare LF')
    let end = pos
    while (end > this.#mark && (bytes[base + end - 1] === SP || bytes[base + end - 1] === HTAB)) end--
    const at = this.fieldCount * 4
    this.fields[at + 2] = this.#mark
    this.fields[at + 3] = end
    this.fieldCount += 1
    return this.#go(LINE_END)
  }
}
