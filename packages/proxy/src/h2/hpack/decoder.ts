import { HeaderField } from '../header-field.ts'
import { DynamicTable } from './dynamic-table.ts'
import { huffmanDecode, huffmanDecodedMax } from './huffman.ts'
import { IntegerReader } from './integer.ts'
import { STATIC_COUNT, STATIC_TABLE } from './static-table.ts'

/** Size updates that may begin a block: the smallest and the final size since the last one (RFC 7541 §4.2). */
const SIZE_UPDATES_MAX = 2
/** Scratch for Huffman decoding, shared by all decoders of the process: decoding is one synchronous step. */
let scratch = Buffer.allocUnsafeSlow(16 * 1024)

/** Bounds of a decoder. */
export interface DecoderOptions {
  /** Table size that was announced to the peer. */
  readonly tableBytes: number
  readonly listBytesMax: number
  readonly fieldsMax: number
}

/**
 * Decodes field blocks of one connection (RFC 7541). Every error is fatal for the connection: both ends would disagree
 * about the table from then on. A list that is too long is no error: the block is decoded to its end, but no longer
 * collected, so that a bomb costs its own length and nothing more.
 */
export class HpackDecoder {
  readonly #options: DecoderOptions
  readonly #table: DynamicTable
  readonly #integers = new IntegerReader()
  #fields: HeaderField[] = []
  #listBytes = 0
  #isOversized = false
  /** Why the last `decode` returned null. */
  error = ''

  constructor(options: DecoderOptions) {
    this.#options = options
    this.#table = new DynamicTable(options.tableBytes)
  }

  /** The last block was longer than the limits; its fields were dropped. */
  get isOversized(): boolean {
    return this.#isOversized
  }

  /** Octets in the dynamic table. */
  get tableBytes(): number {
    return this.#table.bytes
  }

  /** The fields of one whole block, or null on an error (see `error`): COMPRESSION_ERROR. */
  decode(bytes: Buffer, start: number, end: number): HeaderField[] | null {
    this.#fields = []
    this.#listBytes = 0
    this.#isOversized = false
    this.error = ''
    let pos = this.#readSizeUpdates(bytes, start, end)
    while (pos < end && pos >= 0) {
      const octet = bytes[pos]!
      if (octet >= 0x80) pos = this.#readIndexed(bytes, pos, end)
      else if (octet >= 0x40) pos = this.#readLiteral(bytes, pos, end, 6, octet)
      else if (octet >= 0x20) pos = this.#fail('table size update behind a field')
      else pos = this.#readLiteral(bytes, pos, end, 4, octet)
    }
    return pos < 0 ? null : this.#fields
  }

  #readSizeUpdates(bytes: Buffer, start: number, end: number): number {
    let pos = start
    for (let updates = 0; pos < end && (bytes[pos]! & 0xe0) === 0x20; updates++) {
      if (updates === SIZE_UPDATES_MAX) return this.#fail('too many table size updates')
      const size = this.#integers.read(bytes, pos, end, 5)
      if (size < 0) return this.#fail('malformed table size update')
      if (size > this.#options.tableBytes) return this.#fail('table size update beyond the limit')
      this.#table.resize(size)
      pos = this.#integers.end
    }
    return pos
  }

  #readIndexed(bytes: Buffer, start: number, end: number): number {
    const index = this.#integers.read(bytes, start, end, 7)
    const field = index > 0 ? this.#at(index) : undefined
    if (field === undefined) return this.#fail(index < 0 ? 'malformed index' : 'index out of range')
    this.#collect(field)
    return this.#integers.end
  }

  #readLiteral(bytes: Buffer, start: number, end: number, prefixBits: number, octet: number): number {
    const index = this.#integers.read(bytes, start, end, prefixBits)
    if (index < 0) return this.#fail('malformed index')
    let name = ''
    if (index === 0) {
      const read = this.#readString(bytes, this.#integers.end, end)
      if (read === null) return -1
      name = read
    } else {
      const named = this.#at(index)
      if (named === undefined) return this.#fail('index out of range')
      name = named.name
    }
    const value = this.#readString(bytes, this.#integers.end, end)
    if (value === null) return -1
    if (octet >= 0x40) {
      const field = new HeaderField(name, value)
      this.#table.insert(field)
      this.#collect(field)
    } else if (!this.#isOversized) {
      this.#collect(new HeaderField(name, value, octet >= 0x10))
    }
    return this.#integers.end
  }

  /** Leaves its end in `#integers.end`. */
  #readString(bytes: Buffer, start: number, end: number): string | null {
    if (start >= end) return this.#failString('truncated string')
    const isHuffman = bytes[start]! >= 0x80
    const length = this.#integers.read(bytes, start, end, 7)
    if (length < 0) return this.#failString('malformed string length')
    const from = this.#integers.end
    const to = from + length
    if (to > end) return this.#failString('truncated string')
    this.#integers.end = to
    if (!isHuffman) return bytes.toString('latin1', from, to)
    const room = huffmanDecodedMax(length)
    if (scratch.length < room) scratch = Buffer.allocUnsafeSlow(room)
    const decoded = huffmanDecode(bytes, from, to, scratch)
    if (decoded < 0) return this.#failString('malformed Huffman code')
    return scratch.toString('latin1', 0, decoded)
  }

  #at(index: number): HeaderField | undefined {
    return index <= STATIC_COUNT ? STATIC_TABLE[index] : this.#table.at(index - STATIC_COUNT - 1)
  }

  #collect(field: HeaderField): void {
    this.#listBytes += field.size
    if (this.#isOversized) return
    if (this.#listBytes > this.#options.listBytesMax || this.#fields.length >= this.#options.fieldsMax) {
      this.#isOversized = true
      this.#fields = []
      return
    }
    this.#fields.push(field)
  }

  #fail(error: string): number {
    this.error = error
    return -1
  }

  #failString(error: string): null {
    this.error = error
    return null
  }
}
