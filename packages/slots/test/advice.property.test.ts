import { createPrng, type Prng } from '@waiter/base'
import {
  type Accusation,
  DEFAULT_EJECTION,
  type InstanceSlotState,
  type LoadBalancing,
  type ReleaseStatus,
  ReservationMachine,
  type Slot,
} from '@waiter/slots'
import fc from 'fast-check'
import t from 'tap'

const INSTANCES = 7
const STATUSES: readonly ReleaseStatus[] = ['success', 'instance-error', 'instance-busy', 'connect-failed', 'unused']

/** A router whose neighbours say whatever they like, and what must follow, worked out by looking at everything. */
class World {
  readonly prng: Prng
  readonly machine: ReservationMachine
  readonly running: Slot[] = []
  readonly acquittedAtMs = new Map<string, number>()
  said: Accusation[] = []
  nowMs = 1000
  advisedAway = 0
  overruled = 0

  constructor(seed: number, loadBalancing: LoadBalancing) {
    this.prng = createPrng(seed)
    this.machine = new ReservationMachine({
      ...{ loadBalancing, maxQueueLength: 5, concurrencyLevel: 3, prng: this.prng, ejection: DEFAULT_EJECTION },
    })
    this.assign()
  }

  assign(): void {
    const ids = Array.from({ length: INSTANCES }, (_, index) => index).filter(() => this.prng.below(5) > 0)
    const assignment = ids.map(index => ({
      ...{ instanceId: `i${index}`, host: 'h', port: index, slots: this.prng.below(4), startedAtMs: index % 3 },
      expired: this.prng.below(5) === 0,
    }))
    this.machine.update(assignment, this.nowMs)
  }

  gossip(): void {
    const { prng } = this
    if (prng.below(3) === 0) this.said = this.said.filter(() => prng.below(2) === 0)
    for (let count = prng.below(4); count > 0; count--)
      this.said.push({
        ...{ instanceId: `i${prng.below(INSTANCES)}`, accuser: `n${prng.below(4)}`, heardAtMs: this.nowMs },
        untilMs: this.nowMs + prng.below(2 * DEFAULT_EJECTION.maxMs),
      })
    this.machine.advise(this.said, this.nowMs)
  }

  /** Rules V1, V2, V4 and V5: how many accusers stand against it. */
  accusers(instanceId: string): number {
    const standing = this.said.filter(
      accusation =>
        accusation.instanceId === instanceId &&
        accusation.heardAtMs > (this.acquittedAtMs.get(instanceId) ?? 0) &&
        Math.min(accusation.untilMs, accusation.heardAtMs + DEFAULT_EJECTION.maxMs) > this.nowMs,
    )
    return new Set(standing.map(({ accuser }) => accuser)).size
  }

  release(): void {
    const [slot] = this.running.splice(this.prng.below(this.running.length || 1), 1)
    if (slot === undefined) return
    const status = STATUSES[this.prng.below(STATUSES.length)]!
    const isDoubted = this.accusers(slot.instanceId) > 0
    if (status === 'success' && isDoubted) this.acquittedAtMs.set(slot.instanceId, this.nowMs)
    this.machine.release(slot, status, this.nowMs)
  }

  reserve(): void {
    const before = this.machine.instanceStates()
    const slot = this.machine.reserve(this.nowMs)
    if (slot === undefined) {
      if (this.machine.slotsAvailable > 0) throw new Error('a free slot was not granted')
      return
    }
    this.running.push(slot)
    const isFree = (state: InstanceSlotState): boolean => state.isUsable && state.inUse < state.slots
    const isBetterFree = before.some(state => isFree(state) && this.accusers(state.instanceId) === 0)
    if (isBetterFree && this.accusers(slot.instanceId) > 0) throw new Error('granted a doubted one beside an undoubted')
  }

  act(): void {
    const choice = this.prng.below(20)
    if (choice === 0) this.assign()
    else if (choice < 3) this.gossip()
    else if (choice < 10) this.reserve()
    else if (choice < 16) this.release()
    else if (choice === 16) this.machine.eject(`i${this.prng.below(INSTANCES)}`, this.prng.below(20_000), this.nowMs)
    else this.nowMs += this.prng.below(8000)
    this.machine.expire(this.nowMs)
  }

  check(): void {
    const states = this.machine.instanceStates()
    const ids = new Set(states.map(({ instanceId }) => instanceId))
    // What is forgotten is forgotten altogether.
    for (const id of this.acquittedAtMs.keys()) if (!ids.has(id)) this.acquittedAtMs.delete(id)
    const sound = states.filter(state => !state.isRetired && state.slots > 0 && state.ejectedUntilMs === null)
    const advised = sound.filter(
      ({ instanceId, consecutiveFailures }) => this.accusers(instanceId) + (consecutiveFailures > 0 ? 1 : 0) >= 2,
    )
    // A failure of our own alone is no advice.
    const away = advised.filter(({ instanceId }) => this.accusers(instanceId) > 0)
    const isHeeded = away.length * 2 <= sound.length
    if (away.length > 0) this[isHeeded ? 'advisedAway' : 'overruled']++
    const usable = isHeeded ? sound.filter(state => !away.includes(state)) : sound
    for (const state of sound)
      if (state.isUsable !== usable.includes(state)) throw new Error(`${state.instanceId} is usable: ${state.isUsable}`)
    if (sound.length > 0 && usable.length * 2 < sound.length) throw new Error('most were taken away')
    const free = states.filter(({ isUsable }) => isUsable).reduce((sum, s) => sum + Math.max(0, s.slots - s.inUse), 0)
    if (free !== this.machine.slotsAvailable) throw new Error(`${this.machine.slotsAvailable} slots, not ${free}`)
  }
}

for (const loadBalancing of ['oldest', 'youngest', 'random', 'least-loaded'] as const) {
  t.test(
    `V1 V2 V3 V4 V5 with ${loadBalancing}, whatever others say, it has the effect of the rules and no other`,
    async t => {
      let advisedAway = 0
      let overruled = 0
      fc.assert(
        fc.property(fc.integer(), seed => {
          const world = new World(seed, loadBalancing)
          for (let step = 0; step < 200; step++) {
            world.act()
            world.check()
          }
          advisedAway += world.advisedAway
          overruled += world.overruled
        }),
        { seed: 22, numRuns: 50 },
      )
      t.ok(advisedAway > 150, `advice was heeded ${advisedAway} times`)
      t.ok(overruled > 30, `and overruled ${overruled} times`)
    },
  )
}
