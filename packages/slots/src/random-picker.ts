import type { Prng } from '@waiter/base'
import type { InstanceEntry } from './instance-entry.ts'
import type { Picker } from './picker.ts'

/** Picks uniformly among instances with a free slot, fresh ones first: a dense array each, removal by swapping. */
export class RandomPicker implements Picker {
  readonly #prng: Prng
  readonly #fresh: InstanceEntry[] = []
  readonly #expired: InstanceEntry[] = []

  constructor(prng: Prng) {
    this.#prng = prng
  }

  reset(): void {
    this.#fresh.length = 0
    this.#expired.length = 0
  }

  add(entry: InstanceEntry): void {
    const list = entry.isExpired ? this.#expired : this.#fresh
    entry.position = list.length
    list.push(entry)
  }

  remove(entry: InstanceEntry): void {
    const list = entry.isExpired ? this.#expired : this.#fresh
    const last = list.pop()!
    if (last !== entry) {
      list[entry.position] = last
      last.position = entry.position
    }
    entry.position = -1
  }

  touch(): void {}

  pick(): InstanceEntry | undefined {
    const list = this.#fresh.length > 0 ? this.#fresh : this.#expired
    return list.length < 2 ? list[0] : list[this.#prng.below(list.length)]
  }
}
