/** Something that gathers output during a turn. */
export interface Flushable {
  flush(): void
}

/** Memory that connections write frames into: four full DATA frames and some small ones. */
export const SLAB_BYTES: number = 68 * 1024
const SPARE_SLABS_MAX = 64

/**
 * Collects what all connections of a process have to say in one turn of the event loop, and lets each say it in one
 * write when the turn's reads are done. Also lends them the memory: a connection holds a slab only while it has
 * something unsent.
 */
export class TurnScheduler {
  readonly #defer: (run: () => void) => void
  #waiting: Flushable[] = []
  #isScheduled = false
  readonly #spareSlabs: Buffer[] = []

  /** @param defer runs a function once the present turn's input is handled (`setImmediate`) */
  constructor(defer: (run: () => void) => void = run => void setImmediate(run)) {
    this.#defer = defer
  }

  /** Flushes `flushable` at the end of the turn; the caller sees to it that it asks once. */
  add(flushable: Flushable): void {
    this.#waiting.push(flushable)
    if (this.#isScheduled) return
    this.#isScheduled = true
    this.#defer(this.#run)
  }

  takeSlab(): Buffer {
    return this.#spareSlabs.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES)
  }

  /** For slabs that nobody reads any more. */
  giveSlabs(slabs: readonly Buffer[]): void {
    for (const slab of slabs) if (this.#spareSlabs.length < SPARE_SLABS_MAX) this.#spareSlabs.push(slab)
  }

  readonly #run = (): void => {
    const waiting = this.#waiting
    this.#waiting = []
    this.#isScheduled = false
    let done = 0
    try {
      while (done < waiting.length) waiting[done++]!.flush()
    } finally {
      // An owner's callback threw: the others still have their say.
      while (done < waiting.length) this.add(waiting[done++]!)
    }
  }
}
