import type { Prng } from '@waiter/base'
import type { World } from './world.ts'

/** Requests of one service under way at once, in the whole cluster. */
const OUTSTANDING_MAX = 20

const MOODS = ['idle', 'steady', 'burst', 'flood'] as const
const GAP_MS: Record<(typeof MOODS)[number], number> = { idle: 0, steady: 400, burst: 60, flood: 15 }

/** Clients of one service: bursts, steady times and idle ones; most requests are short, some are long. */
export class Workload {
  readonly #world: World
  readonly #random: Prng
  #isOver = false

  constructor(world: World) {
    this.#world = world
    this.#random = world.random
  }

  start(): void {
    for (const definition of this.#world.definitions) this.#change(definition)
  }

  stop(): void {
    this.#isOver = true
  }

  #change(definition: World['definitions'][number]): void {
    if (this.#isOver) return
    const gapMs = GAP_MS[MOODS[this.#random.below(MOODS.length)] ?? 'idle']
    const lastsMs = 500 + this.#random.below(6_000)
    // Often everything comes through one router.
    const only = this.#random.below(3) === 0 ? this.#random.below(8) : undefined
    const endMs = this.#world.time.nowMs + lastsMs
    if (gapMs > 0) this.#arrive(definition, gapMs, endMs, only)
    this.#world.time.after(lastsMs, () => this.#change(definition))
  }

  #arrive(definition: World['definitions'][number], gapMs: number, endMs: number, only: number | undefined): void {
    this.#world.time.after(1 + this.#random.below(2 * gapMs), () => {
      if (this.#isOver || this.#world.time.nowMs >= endMs) return
      const routers = this.#world.livingRouters()
      const router = routers[(only ?? this.#random.below(8)) % Math.max(1, routers.length)]
      const outstanding = routers.reduce(
        (sum, { requests }) => sum + [...requests].filter(({ runtime }) => runtime.id === definition.id).length,
        0,
      )
      if (router !== undefined && outstanding < OUTSTANDING_MAX) router.request(definition, this.#tookMs())
      this.#arrive(definition, gapMs, endMs, only)
    })
  }

  #tookMs(): number {
    const dice = this.#random.below(100)
    if (dice < 80) return 5 + this.#random.below(300)
    return dice < 96 ? this.#random.below(2_500) : this.#random.below(12_000)
  }
}
