import type { Http2Stream } from './stream.ts'

const INITIAL_SLOTS = 16

/**
 * The streams of a connection by id: open addressing over one array.
 *
 * Not a `Map`: with entries that come and go at this rate its discarded tables stay linked, keep dead streams alive
 * through every minor collection, and cost more than all the rest of the engine (measured: a third of its CPU).
 */
export class StreamTable {
  #slots: (Http2Stream | null)[] = new Array<Http2Stream | null>(INITIAL_SLOTS).fill(null)
  #mask = INITIAL_SLOTS - 1
  #count = 0

  get size(): number {
    return this.#count
  }

  get(id: number): Http2Stream | undefined {
    for (let slot = this.#homeOf(id); ; slot = (slot + 1) & this.#mask) {
      const stream = this.#slots[slot]!
      if (stream === null) return undefined
      if (stream.id === id) return stream
    }
  }

  /** The id must not be in the table. */
  add(stream: Http2Stream): void {
    // At most half full, so that chains stay short and a free slot always ends them.
    if (this.#count * 2 > this.#mask) this.#grow()
    this.#put(stream)
    this.#count += 1
  }

  /** False when it was not there. */
  delete(id: number): boolean {
    let slot = this.#homeOf(id)
    while (this.#slots[slot] !== null && this.#slots[slot]!.id !== id) slot = (slot + 1) & this.#mask
    if (this.#slots[slot] === null) return false
    this.#count -= 1
    this.#slots[slot] = null
    this.#closeGap(slot)
    return true
  }

  /** The streams of this moment; the table may change meanwhile. */
  snapshot(): Http2Stream[] {
    return this.#slots.filter(stream => stream !== null)
  }

  /** Successive streams of a side are two apart. */
  #homeOf(id: number): number {
    return (id >>> 1) & this.#mask
  }

  #put(stream: Http2Stream): void {
    let slot = this.#homeOf(stream.id)
    while (this.#slots[slot] !== null) slot = (slot + 1) & this.#mask
    this.#slots[slot] = stream
  }

  /** Moves up what had to give way, so that no chain is broken by the gap. */
  #closeGap(gap: number): void {
    let free = gap
    for (let slot = (gap + 1) & this.#mask; this.#slots[slot] !== null; slot = (slot + 1) & this.#mask) {
      const stream = this.#slots[slot]!
      const distanceFromHome = (slot - this.#homeOf(stream.id)) & this.#mask
      const distanceFromFree = (slot - free) & this.#mask
      if (distanceFromHome < distanceFromFree) continue
      this.#slots[free] = stream
      this.#slots[slot] = null
      free = slot
    }
  }

  #grow(): void {
    const streams = this.snapshot()
    const length = this.#slots.length * 2
    this.#slots = new Array<Http2Stream | null>(length).fill(null)
    this.#mask = length - 1
    for (const stream of streams) this.#put(stream)
  }
}
