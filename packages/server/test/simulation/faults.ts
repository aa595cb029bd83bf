import type { Prng } from '@waiter/base'
import type { SimProcess } from './sim-time.ts'
import type { World } from './world.ts'

export const FAULT_KINDS = [
  'leader-crash',
  'control-crash',
  'router-crash',
  'partition',
  'one-way-partition',
  'isolation',
  'pause',
  'leader-pause',
  'slow-network',
  'lost-messages',
  'broken-stream',
  'scheduler-errors',
  'scheduler-watch',
  'instance-death',
] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

/** A partition lasts at most this long: longer than a lost router is waited for. */
const PARTITION_MS_MAX = 16_000
const PAUSE_MS_MAX = 12_000
const DOWN_MS_MAX = 4_000

/** Draws faults from the seed, and repairs each of them after a while. */
export class FaultInjector {
  readonly #world: World
  readonly #random: Prng
  readonly #kinds: readonly FaultKind[]
  readonly #pauseMs: number
  readonly #repairs = new Set<() => void>()
  #isOver = false
  injected = 0

  constructor(world: World, kinds: readonly FaultKind[], pauseMs: number) {
    this.#world = world
    this.#random = world.random
    this.#kinds = kinds
    this.#pauseMs = pauseMs
  }

  start(): void {
    this.#world.time.after(this.#pauseMs / 4 + this.#random.below(this.#pauseMs), () => {
      if (this.#isOver) return
      const kind = this.#pick(this.#kinds)
      if (kind !== undefined) this.#inject(kind)
      this.start()
    })
  }

  /** Everything is repaired at once, and nothing breaks any more. */
  heal(): void {
    this.#isOver = true
    for (const repair of [...this.#repairs]) repair()
    this.#world.network.healAll()
    this.#world.scheduler.failPerMille = 0
    this.#world.scheduler.slownessMs = 0
  }

  #inject(kind: FaultKind): void {
    const world = this.#world
    this.injected += 1
    switch (kind) {
      case 'leader-crash':
        this.#crashControl(world.controls.filter(({ leads }) => leads))
        return
      case 'control-crash':
        this.#crashControl(world.controls.filter(({ isAlive }) => isAlive))
        return
      case 'router-crash':
        this.#crashRouter()
        return
      case 'partition':
        this.#cut(2)
        return
      case 'one-way-partition':
        this.#cut(1)
        return
      case 'isolation':
        this.#isolate()
        return
      case 'pause':
        this.#pause([...world.controls, ...world.livingRouters()])
        return
      case 'leader-pause':
        this.#pause(world.controls.filter(({ leads }) => leads))
        return
      case 'slow-network':
        world.network.slownessMs = 20 + this.#random.below(150)
        this.#later(() => {
          world.network.slownessMs = 0
        }, 4_000)
        return
      case 'lost-messages':
        world.network.lossPerMille = this.#random.below(400)
        this.#later(() => {
          world.network.lossPerMille = 0
        }, 4_000)
        return
      case 'broken-stream':
        world.network.breakOne()
        return
      case 'scheduler-errors':
        world.scheduler.failPerMille = 100 + this.#random.below(600)
        world.scheduler.slownessMs = this.#random.below(1_500)
        this.#later(() => {
          world.scheduler.failPerMille = 0
          world.scheduler.slownessMs = 0
        }, 4_000)
        return
      case 'scheduler-watch':
        world.scheduler.breakWatches()
        return
      case 'instance-death':
        this.#killInstance()
        return
    }
  }

  #crashControl(candidates: World['controls']): void {
    // Two of three are needed: with fewer nothing is promised but patience.
    if (this.#world.controls.filter(({ isAlive }) => !isAlive).length > 0) return
    const control = this.#pick(candidates)
    if (control === undefined) return
    control.crash()
    this.#later(() => control.start(), DOWN_MS_MAX)
  }

  #crashRouter(): void {
    const router = this.#pick(this.#world.livingRouters())
    if (router === undefined) return
    const { seat } = router
    this.#world.crashRouter(router)
    this.#later(() => this.#world.startRouter(seat), DOWN_MS_MAX)
  }

  #hosts(): string[] {
    return [...this.#world.controls.map(({ name }) => name), ...this.#world.livingRouters().map(({ seat }) => seat)]
  }

  #cut(directions: number): void {
    const { network } = this.#world
    const from = this.#pick(this.#hosts())
    const to = this.#pick(this.#hosts().filter(host => host !== from))
    if (from === undefined || to === undefined) return
    network.cut(from, to)
    if (directions === 2) network.cut(to, from)
    this.#later(() => {
      network.heal(from, to)
      network.heal(to, from)
    }, PARTITION_MS_MAX)
  }

  #isolate(): void {
    const { network } = this.#world
    const host = this.#pick(this.#hosts())
    if (host === undefined) return
    const others = this.#hosts().filter(other => other !== host)
    for (const other of others) {
      network.cut(host, other)
      network.cut(other, host)
    }
    this.#later(() => {
      for (const other of others) {
        network.heal(host, other)
        network.heal(other, host)
      }
    }, PARTITION_MS_MAX)
  }

  #pause(candidates: readonly { readonly process: SimProcess }[]): void {
    const process = this.#pick(candidates.map(each => each.process).filter(({ isAlive }) => isAlive))
    if (process !== undefined) this.#world.pause(process, 100 + this.#random.below(PAUSE_MS_MAX))
  }

  #killInstance(): void {
    const { scheduler, definitions } = this.#world
    const instance = this.#pick(definitions.flatMap(({ id }) => scheduler.running(id)))
    if (instance !== undefined) scheduler.die(instance)
  }

  #later(repair: () => void, msMax: number): void {
    const once = (): void => {
      if (this.#repairs.delete(once)) repair()
    }
    this.#repairs.add(once)
    this.#world.time.after(100 + this.#random.below(msMax), once)
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.#random.below(Math.max(1, items.length))]
  }
}
