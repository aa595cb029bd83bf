/** Sources with a count of their own; the rest shares one. */
const SOURCES_MAX = 1_024

/** Packets per second and source address, counted before anything else is looked at. */
export class RateLimit {
  readonly #perSecondMax: number
  #second = 0
  #counts = new Map<string, number>()
  #shared = 0

  constructor(perSecondMax: number) {
    this.#perSecondMax = perSecondMax
  }

  admits(source: string, nowMs: number): boolean {
    const second = Math.floor(nowMs / 1_000)
    if (second !== this.#second) {
      this.#second = second
      this.#counts.clear()
      this.#shared = 0
    }
    const known = this.#counts.get(source)
    if (known === undefined && this.#counts.size >= SOURCES_MAX) return ++this.#shared <= this.#perSecondMax
    const count = (known ?? 0) + 1
    this.#counts.set(source, count)
    return count <= this.#perSecondMax
  }
}
