import type { InstanceEntry } from './instance-entry.ts'
import type { Picker } from './picker.ts'

const BITS_PER_WORD = 32
const WORD_SHIFT = 5
const BIT_MASK = 31

/**
 * Picks the lowest rank: oldest or youngest, depending on how ranks were dealt.
 *
 * A tree of bit sets: a bit of the lowest level says "this rank has a free slot", a bit of a higher level "this word is
 * not empty". Finding the first is one count-leading-zeros per level, that is two for up to 1,024 instances, three for
 * up to 32,768. A heap would pay a sift for every instance that fills up or frees a slot.
 */
export class RankPicker implements Picker {
  #levels: Uint32Array[] = [new Uint32Array(1)]
  #entries: readonly InstanceEntry[] = []

  reset(entries: readonly InstanceEntry[]): void {
    const byRank: InstanceEntry[] = new Array(entries.length)
    for (const entry of entries) byRank[entry.rank] = entry
    this.#entries = byRank
    this.#levels = []
    let count = entries.length
    do {
      count = Math.max(1, Math.ceil(count / BITS_PER_WORD))
      this.#levels.push(new Uint32Array(count))
    } while (count > 1)
  }

  add(entry: InstanceEntry): void {
    let index = entry.rank
    for (const words of this.#levels) {
      const word = index >>> WORD_SHIFT
      const before = words[word]!
      words[word] = before | (1 << (index & BIT_MASK))
      if (before !== 0) return
      index = word
    }
  }

  remove(entry: InstanceEntry): void {
    let index = entry.rank
    for (const words of this.#levels) {
      const word = index >>> WORD_SHIFT
      words[word] = words[word]! & ~(1 << (index & BIT_MASK))
      if (words[word] !== 0) return
      index = word
    }
  }

  touch(): void {}

  pick(): InstanceEntry | undefined {
    let index = 0
    for (let level = this.#levels.length - 1; level >= 0; level--) {
      const word = this.#levels[level]![index]!
      if (word === 0) return undefined
      const lowestBit = BIT_MASK - Math.clz32(word & -word)
      index = (index << WORD_SHIFT) | lowestBit
    }
    return this.#entries[index]
  }
}
