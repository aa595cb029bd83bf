import { Indexing } from '../field-name.ts'
import type { HeaderField } from '../header-field.ts'
import { DynamicTable } from './dynamic-table.ts'
import { huffmanEncode, huffmanLength } from './huffman.ts'
import { writeInteger } from './integer.ts'
import { STATIC_COUNT } from './static-table.ts'

/** The size every table begins with (RFC 9113 §6.5.2). */
const INITIAL_TABLE_BYTES = 4096
/** Names whose habits are remembered per connection. */
const NAMES_MAX = 256
/** Insertions of a name before its hits are judged. */
const TRIAL_INSERTS = 8
/** Pattern and two integers of at most 6 octets; with two size updates before the first field. */
const FIELD_OVERHEAD_BYTES = 18
const BLOCK_OVERHEAD_BYTES = 12
/** Longer strings are written by one native call. */
const LOOP_LENGTH_MAX = 24

/** What an encoder knows of one field name. */
interface KnownName {
  /** Absolute numbers of its entries by value. */
  readonly absoluteByValue: Map<string, number>
  /** Its newest entry, or -1. */
  latest: number
  inserts: number
  hits: number
}

/**
 * Encodes field blocks of one connection (RFC 7541).
 *
 * What repeats is indexed and costs one octet from then on. Secret fields are never indexed; names that change with
 * nearly every request are not, and a name that turns out to be such is noticed. Huffman coding is used where it is
 * paid once, for what is indexed: elsewhere its time is worth more than its octets.
 */
export class HpackEncoder {
  readonly #bytesMax: number
  readonly #table: DynamicTable
  readonly #names = new Map<string, KnownName>()
  /** Size updates owed to the peer: the smallest size since the last block and the present one. */
  #smallestPending = -1

  /** @param bytesMax the largest table we keep, however much the peer offers */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    this.#table = new DynamicTable(INITIAL_TABLE_BYTES, (field, absolute) => this.#forget(field, absolute))
    this.resize(INITIAL_TABLE_BYTES)
  }

  /** Octets in the dynamic table. */
  get tableBytes(): number {
    return this.#table.bytes
  }

  /** Follows the peer's SETTINGS_HEADER_TABLE_SIZE; told to it at the beginning of the next block. */
  resize(peerBytesMax: number): void {
    const bytesMax = Math.min(peerBytesMax, this.#bytesMax)
    if (bytesMax === this.#table.bytesMax) return
    this.#table.resize(bytesMax)
    this.#smallestPending = this.#smallestPending < 0 ? bytesMax : Math.min(this.#smallestPending, bytesMax)
  }

  /** Room that `encode` may need. */
  static boundOf(fields: readonly HeaderField[]): number {
    let bytes = BLOCK_OVERHEAD_BYTES
    for (const field of fields) bytes += field.size
    return bytes + fields.length * FIELD_OVERHEAD_BYTES
  }

  /** Writes one block and returns the offset behind it. */
  encode(fields: readonly HeaderField[], out: Buffer, at: number): number {
    let pos = this.#smallestPending < 0 ? at : this.#writeSizeUpdates(out, at)
    for (let i = 0; i < fields.length; i++) pos = this.#encodeField(fields[i]!, out, pos)
    return pos
  }

  #writeSizeUpdates(out: Buffer, at: number): number {
    let pos = at
    const { bytesMax } = this.#table
    if (this.#smallestPending < bytesMax) pos = writeInteger(out, pos, this.#smallestPending, 5, 0x20)
    this.#smallestPending = -1
    return writeInteger(out, pos, bytesMax, 5, 0x20)
  }

  #encodeField(field: HeaderField, out: Buffer, at: number): number {
    const { name, value, about, isSensitive } = field
    const { staticIndex, staticIndexByValue } = about
    if (staticIndexByValue !== null) {
      const index = staticIndexByValue.get(value)
      if (index !== undefined && !isSensitive) {
        out[at] = 0x80 | index
        return at + 1
      }
    }
    if (isSensitive) return this.#writeLiteral(field, out, at, staticIndex, 4, 0x10)
    if (about.indexing !== Indexing.INCREMENTAL) return this.#writeLiteral(field, out, at, staticIndex, 4, 0)
    const known = this.#names.get(name)
    if (known !== undefined) {
      const absolute = known.absoluteByValue.get(value)
      if (absolute !== undefined) {
        known.hits += 1
        return writeInteger(out, at, this.#indexOf(absolute), 7, 0x80)
      }
    }
    return this.#encodeNew(field, known, out, at)
  }

  /** A field the table does not have: indexes it if that is likely to pay. */
  #encodeNew(field: HeaderField, known: KnownName | undefined, out: Buffer, at: number): number {
    const { name, value, about, size } = field
    let nameIndex = about.staticIndex
    if (nameIndex === 0 && known !== undefined && known.latest >= 0) nameIndex = this.#indexOf(known.latest)
    const isTooLarge = size * 4 > this.#table.bytesMax * 3
    const isFutile = known !== undefined && known.inserts >= TRIAL_INSERTS && known.hits < known.inserts
    if (isTooLarge || isFutile || (known === undefined && this.#names.size >= NAMES_MAX)) {
      return this.#writeLiteral(field, out, at, nameIndex, 4, 0)
    }
    const pos = this.#writeLiteral(field, out, at, nameIndex, 6, 0x40)
    this.#table.insert(field)
    const absolute = this.#table.insertedCount - 1
    let entry = known
    if (entry === undefined) {
      entry = { absoluteByValue: new Map(), latest: -1, inserts: 0, hits: 0 }
      this.#names.set(name, entry)
    }
    entry.absoluteByValue.set(value, absolute)
    entry.latest = absolute
    entry.inserts += 1
    return pos
  }

  #indexOf(absolute: number): number {
    return STATIC_COUNT + this.#table.insertedCount - absolute
  }

  #forget(field: HeaderField, absolute: number): void {
    const known = this.#names.get(field.name)
    if (known === undefined) return
    if (known.absoluteByValue.get(field.value) === absolute) known.absoluteByValue.delete(field.value)
    if (known.latest === absolute) known.latest = -1
  }

  #writeLiteral(
    field: HeaderField,
    out: Buffer,
    at: number,
    nameIndex: number,
    prefixBits: number,
    pattern: number,
  ): number {
    const isKept = prefixBits === 6
    let pos = writeInteger(out, at, nameIndex, prefixBits, pattern)
    if (nameIndex === 0) pos = isKept ? writeHuffman(field.name, out, pos) : writeText(field.name, out, pos)
    return isKept ? writeHuffman(field.value, out, pos) : writeText(field.value, out, pos)
  }
}

function writeText(text: string, out: Buffer, at: number): number {
  const { length } = text
  const pos = writeInteger(out, at, length, 7, 0)
  if (length > LOOP_LENGTH_MAX) out.write(text, pos, length, 'latin1')
  else for (let i = 0; i < length; i++) out[pos + i] = text.charCodeAt(i)
  return pos + length
}

function writeHuffman(text: string, out: Buffer, at: number): number {
  const length = huffmanLength(text)
  if (length >= text.length) return writeText(text, out, at)
  return huffmanEncode(text, out, writeInteger(out, at, length, 7, 0x80))
}
