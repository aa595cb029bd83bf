import type { Prng } from '@waiter/base'
import type { Checks } from './checks.ts'
import { exponentialMs, type FaultKind, forkPrng, type Profile, pick } from './profile.ts'
import type { SimGroup, SimNode } from './sim-group.ts'

const FAULT_MS_MIN = 1_000
const PAUSE_MS_MAX = 6_000
const DOWN_MS_MEAN = 5_000
const KEYS = ['a', 'b', 'c', 'd', 'e', 'f']

/** Does to a group what its profile says, and lets its members write. */
export class FaultInjector {
  readonly #group: SimGroup
  readonly #checks: Checks
  readonly #profile: Profile
  readonly #random: Prng
  readonly #writes: Prng
  #serial = 0
  #isOver = false

  constructor(group: SimGroup, checks: Checks, profile: Profile) {
    this.#group = group
    this.#checks = checks
    this.#profile = profile
    this.#random = forkPrng(profile.seed, 'faults')
    this.#writes = forkPrng(profile.seed, 'writes')
  }

  start(): void {
    for (const kind of this.#profile.enabled) this.#next(kind)
    this.#write()
  }

  /** Everything is repaired: the network is whole, and who is down stays down. */
  heal(): void {
    this.#isOver = true
    this.#group.cutLinks.clear()
    this.#group.sideOf = undefined
    this.#group.lossRate = 0
  }

  #next(kind: FaultKind): void {
    this.#group.schedule(exponentialMs(this.#random, this.#profile.meanFaultGapMs), () => {
      if (this.#isOver) return
      this.#inflict(kind)
      this.#next(kind)
    })
  }

  #inflict(kind: FaultKind): void {
    const group = this.#group
    const up = group.upNodes()
    if (up.length === 0) return
    const node = pick(up, this.#random)
    const other = pick(up, this.#random)
    const forMs = FAULT_MS_MIN + exponentialMs(this.#random, 4_000)
    const mayGoDown = up.length > Math.ceil(this.#profile.size / 2)
    switch (kind) {
      case 'loss':
        return
      case 'oneWay':
        if (node !== other) this.#cutLink(node, other, forMs)
        return
      case 'pause':
        group.pause(node, Math.min(PAUSE_MS_MAX, forMs))
        return
      case 'partition':
        this.#partition(forMs * 3)
        return
      case 'crash':
        if (mayGoDown) group.crash(node)
        return
      case 'restart':
      case 'clockBack':
        if (mayGoDown) this.#restart(node, kind)
        return
      case 'leave':
        if (mayGoDown) group.act(node, gossip => gossip.leave(group.nowMs))
    }
  }

  /** One at a time, so that there is always another way. */
  #cutLink(from: SimNode, to: SimNode, forMs: number): void {
    if (this.#group.cutLinks.size > 0) return
    const link = `${from.index}>${to.index}`
    this.#group.cutLinks.add(link)
    this.#group.schedule(forMs, () => this.#group.cutLinks.delete(link))
  }

  #partition(forMs: number): void {
    if (this.#group.sideOf !== undefined) return
    const boundary = 1 + this.#random.below(this.#profile.size - 1)
    this.#group.sideOf = node => (node.index < boundary ? 0 : 1)
    this.#group.schedule(forMs, () => {
      this.#group.sideOf = undefined
    })
  }

  #restart(node: SimNode, kind: FaultKind): void {
    const group = this.#group
    group.crash(node)
    group.schedule(200 + exponentialMs(this.#random, DOWN_MS_MEAN), () => {
      if (this.#isOver || node.isUp || node.hasLeft) return
      this.#checks.onStart(node)
      group.start(node.index, kind === 'clockBack' ? -60_000 : 0)
    })
  }

  #write(): void {
    this.#group.schedule(exponentialMs(this.#writes, this.#profile.meanWriteGapMs), () => {
      if (this.#isOver || this.#group.upNodes().length === 0) return
      const node = pick(this.#group.upNodes(), this.#writes)
      const [key, dice] = [pick(KEYS, this.#writes), this.#writes.next()]
      if (node.pausedUntilMs <= this.#group.nowMs) this.#writeOne(node, key, dice)
      this.#write()
    })
  }

  #writeOne(node: SimNode, key: string, dice: number): void {
    const { nowMs } = this.#group
    const value = `${this.#serial++}`
    const ttlMs = dice < 0.3 ? 2_000 : undefined
    this.#group.act(node, gossip => {
      if (dice > 0.8) gossip.delete(key, nowMs)
      else gossip.set(key, value, ttlMs === undefined ? { nowMs } : { nowMs, ttlMs })
      const entry = { value, expiresAtMs: ttlMs === undefined ? Number.POSITIVE_INFINITY : nowMs + ttlMs }
      this.#checks.onWrite(node, key, dice > 0.8 ? undefined : entry)
    })
  }
}
