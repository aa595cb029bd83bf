import type { HeaderField } from '../header-field.ts'

/**
 * The dynamic table of RFC 7541 §2.3.2: newest first, bounded in octets. Entries have absolute numbers, counted from
 * the first insertion, so that an index may be remembered while others come and go.
 */
export class DynamicTable {
  #ring: (HeaderField | undefined)[] = new Array<HeaderField | undefined>(16)
  #mask = 15
  #count = 0
  #bytes = 0
  #bytesMax: number
  /** Told of each entry that falls out, oldest first. */
  readonly #onEvict: ((field: HeaderField, absolute: number) => void) | null
  /** Entries ever inserted: the absolute number that the next one gets. */
  insertedCount = 0

  constructor(bytesMax: number, onEvict: ((field: HeaderField, absolute: number) => void) | null = null) {
    this.#bytesMax = bytesMax
    this.#onEvict = onEvict
  }

  get bytes(): number {
    return this.#bytes
  }

  get bytesMax(): number {
    return this.#bytesMax
  }

  /** The entry inserted `distance` insertions before the newest (0), or undefined. */
  at(distance: number): HeaderField | undefined {
    if (distance >= this.#count) return undefined
    return this.#ring[(this.insertedCount - 1 - distance) & this.#mask]
  }

  resize(bytesMax: number): void {
    this.#bytesMax = bytesMax
    this.#evictTo(bytesMax)
  }

  /** False when the entry is larger than the table, which empties it (RFC 7541 §4.4). */
  insert(field: HeaderField): boolean {
    this.#evictTo(this.#bytesMax - field.size)
    if (field.size > this.#bytesMax) return false
    if (this.#count > this.#mask) this.#grow()
    this.#ring[this.insertedCount & this.#mask] = field
    this.insertedCount += 1
    this.#count += 1
    this.#bytes += field.size
    return true
  }

  #evictTo(bytesMax: number): void {
    while (this.#bytes > bytesMax && this.#count > 0) {
      const absolute = this.insertedCount - this.#count
      const slot = absolute & this.#mask
      const field = this.#ring[slot]!
      this.#ring[slot] = undefined
      this.#bytes -= field.size
      this.#count -= 1
      this.#onEvict?.(field, absolute)
    }
  }

  #grow(): void {
    const mask = this.#mask * 2 + 1
    const ring = new Array<HeaderField | undefined>(mask + 1)
    for (let absolute = this.insertedCount - this.#count; absolute < this.insertedCount; absolute++) {
      ring[absolute & mask] = this.#ring[absolute & this.#mask]
    }
    this.#ring = ring
    this.#mask = mask
  }
}
