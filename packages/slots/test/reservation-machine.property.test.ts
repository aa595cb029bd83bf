import { createPrng, type Prng } from '@waiter/base'
import {
  type AssignedInstance,
  DEFAULT_EJECTION,
  type LoadBalancing,
  type QueueFailure,
  type ReleaseStatus,
  ReservationMachine,
  type Slot,
  Waiter,
} from '@waiter/slots'
import fc from 'fast-check'
import t from 'tap'
import { DumbReservations } from './dumb-reservations.ts'

const INSTANCES = 6
const CONCURRENCY_MAX = 4
const STATUSES: readonly ReleaseStatus[] = [
  ...(['success', 'success', 'success', 'client-error', 'generic-error', 'success-async'] as const),
  ...(['instance-error', 'instance-busy', 'connect-failed', 'unused'] as const),
]

function randomAssignment(prng: Prng): AssignedInstance[] {
  const assignment: AssignedInstance[] = []
  for (let index = 0; index < INSTANCES; index++) {
    if (prng.below(3) === 0) continue
    const startedAtMs = 100 + (index % 3)
    const slots = prng.below(CONCURRENCY_MAX + 1)
    assignment.push({
      instanceId: `i${index}`,
      host: 'h',
      port: index,
      slots,
      startedAtMs,
      expired: prng.below(4) === 0,
    })
  }
  return assignment
}

/** Runs the same random operations against the machine and the dumb one, and compares every answer. */
class Twins {
  readonly prng: Prng
  readonly machine: ReservationMachine
  readonly dumb: DumbReservations
  readonly running: Slot[] = []
  readonly answers: string[] = []
  readonly waiters: Waiter[] = []
  nowMs = 1000

  constructor(seed: number, loadBalancing: Exclude<LoadBalancing, 'random'>) {
    this.prng = createPrng(seed)
    const maxQueueLength = 5
    this.machine = new ReservationMachine({
      ...{ loadBalancing, maxQueueLength, concurrencyLevel: CONCURRENCY_MAX, prng: this.prng },
      ejection: DEFAULT_EJECTION,
    })
    this.dumb = new DumbReservations(loadBalancing, DEFAULT_EJECTION, maxQueueLength)
  }

  enqueue(): [string, string] {
    const name = this.waiters.length
    const { answers, running } = this
    class Named extends Waiter {
      granted(slot: Slot): void {
        answers.push(`${name} ${slot.instanceId}`)
        running.push(slot)
      }
      failed(failure: QueueFailure): void {
        answers.push(`${name} ${failure.kind}`)
      }
    }
    const waiter = new Named()
    this.waiters.push(waiter)
    const deadlineMs = this.nowMs + this.prng.below(30_000)
    const priority = this.prng.below(3)
    return [
      this.machine.enqueue(waiter, deadlineMs, priority)?.kind ?? 'accepted',
      this.dumb.enqueue(name, deadlineMs, priority),
    ]
  }

  release(): [unknown, unknown] {
    if (this.running.length === 0) return [0, 0]
    const status = STATUSES[this.prng.below(STATUSES.length)]!
    const at = this.prng.below(this.running.length)
    const slot = this.running[at]!
    if (status !== 'success-async') this.running.splice(at, 1)
    return [this.machine.release(slot, status, this.nowMs), this.dumb.release(slot.instanceId, status, this.nowMs)]
  }

  step(): [unknown, unknown] {
    const { prng, machine, dumb, nowMs } = this
    switch (prng.below(12)) {
      case 0: {
        const assignment = randomAssignment(prng)
        return [machine.update(assignment, nowMs), dumb.update(assignment, nowMs)]
      }
      case 1:
      case 2: {
        const slot = machine.reserve(nowMs)
        if (slot !== undefined) this.running.push(slot)
        return [slot?.instanceId, dumb.reserve(nowMs)]
      }
      case 3:
      case 4:
      case 5:
        return this.enqueue()
      case 6: {
        if (this.waiters.length === 0) return [0, 0]
        const name = prng.below(this.waiters.length)
        return [machine.cancel(this.waiters[name]!), dumb.cancel(name)]
      }
      case 7: {
        this.nowMs += prng.below(10_000)
        machine.expire(this.nowMs)
        return [0, dumb.expire(this.nowMs) ?? 0]
      }
      case 8: {
        if (prng.below(5) > 0) return [0, 0]
        machine.fail({ code: 'x', message: 'x' })
        return [0, dumb.fail() ?? 0]
      }
      case 9: {
        const instanceId = `i${prng.below(INSTANCES)}`
        const periodMs = prng.below(20_000) + 1
        return [machine.eject(instanceId, periodMs, nowMs), dumb.eject(instanceId, nowMs, nowMs + periodMs)]
      }
      default:
        return this.release()
    }
  }

  /** What must hold after every step. */
  state(): [unknown, unknown] {
    const { machine, dumb } = this
    const { ejectedInstanceIds, ...counts } = machine.counts()
    const free = dumb.usable().reduce((sum, i) => sum + Math.max(0, i.slots - i.inUse), 0)
    const mine = {
      counts,
      ejected: [...ejectedInstanceIds].sort(),
      answers: this.answers,
      wakes: true,
      suspects: [...machine.suspectInstances()].sort(),
    }
    const ejected = dumb.instances.filter(i => !i.retired && dumb.ejected(i)).map(i => i.id)
    const suspects = dumb.instances.filter(i => !i.retired && i.failures >= DEFAULT_EJECTION.suspectAfterFailures)
    const theirs = {
      counts: {
        slotsAssigned: dumb.assigned().reduce((sum, i) => sum + i.slots, 0),
        slotsInUse: dumb.instances.reduce((sum, i) => sum + i.inUse, 0),
        slotsAvailable: free,
        waiting: dumb.queue.length,
      },
      ejected: ejected.sort(),
      answers: dumb.answers,
      wakes: machine.wakeAtMs <= dumb.earliestWakeMs(),
      suspects: suspects.map(i => i.id).sort(),
    }
    return [mine, theirs]
  }
}

for (const loadBalancing of ['oldest', 'youngest', 'least-loaded'] as const) {
  t.test(`C1 Q2 B5 with ${loadBalancing}, the machine does what a scan of everything would do`, async t => {
    let grants = 0
    let timeouts = 0
    fc.assert(
      fc.property(fc.integer(), seed => {
        const twins = new Twins(seed, loadBalancing)
        for (let step = 0; step < 150; step++) {
          const [mine, theirs] = twins.step()
          if (!sameJson(mine, theirs)) throw new Error(`step ${step}: ${JSON.stringify({ mine, theirs })}`)
          const [state, expected] = twins.state()
          if (!sameJson(state, expected))
            throw new Error(`state ${step}: ${JSON.stringify({ state, expected }, null, 1)}`)
        }
        grants += twins.answers.filter(answer => / i\d$/.test(answer)).length
        timeouts += twins.answers.filter(answer => answer.endsWith('queue-timeout')).length
      }),
      { seed: 20, numRuns: 300 },
    )
    t.ok(grants > 1000, `${grants} waiters were granted`)
    t.ok(timeouts > 500, `${timeouts} waiters timed out`)
  })
}

/** A request that misbehaves as much as the contract allows: its callbacks call the machine again. */
class Busybody extends Waiter {
  readonly world: World
  answers = 0
  isCancelled = false
  constructor(world: World) {
    super()
    this.world = world
  }
  granted(slot: Slot): void {
    this.answers++
    this.world.onGrant(slot)
  }
  failed(): void {
    this.answers++
    this.world.actUp()
  }
}

class World {
  readonly prng: Prng
  readonly machine: ReservationMachine
  readonly running: Slot[] = []
  readonly all: Busybody[] = []
  violations: string[] = []
  depth = 0
  nowMs = 0

  constructor(seed: number, loadBalancing: LoadBalancing) {
    this.prng = createPrng(seed)
    this.machine = new ReservationMachine({
      ...{ loadBalancing, maxQueueLength: 20, concurrencyLevel: CONCURRENCY_MAX, prng: this.prng },
      ejection: DEFAULT_EJECTION,
    })
  }

  onGrant(slot: Slot): void {
    if (slot.isRetired) this.violations.push('granted a retired instance')
    if (slot.inUse > slot.slots) this.violations.push('granted more than the slots')
    const state = this.machine.instanceStates().find(({ instanceId }) => instanceId === slot.instanceId)
    if (!state?.isUsable) this.violations.push('granted an ejected instance')
    this.running.push(slot)
    this.actUp()
  }

  actUp(): void {
    if (this.depth > 3) return
    this.depth++
    if (this.prng.below(3) === 0) this.act()
    this.depth--
  }

  act(): void {
    const { prng, machine } = this
    const choice = prng.below(10)
    if (choice === 0) machine.update(randomAssignment(prng), this.nowMs)
    else if (choice === 1) {
      const slot = machine.reserve(this.nowMs)
      if (slot !== undefined) this.onGrant(slot)
    } else if (choice < 5) {
      const waiter = new Busybody(this)
      const refusal = machine.enqueue(waiter, this.nowMs + prng.below(500), prng.below(2))
      if (refusal === undefined) this.all.push(waiter)
    } else if (choice < 8) {
      const [slot] = this.running.splice(prng.below(this.running.length || 1), 1)
      const status = STATUSES[prng.below(STATUSES.length)]!
      if (slot !== undefined) machine.release(slot, status === 'success-async' ? 'success' : status, this.nowMs)
    } else if (choice === 8) {
      const waiter = this.all[prng.below(this.all.length || 1)]
      if (waiter !== undefined && machine.cancel(waiter)) waiter.isCancelled = true
    } else {
      this.nowMs += prng.below(300)
      machine.expire(this.nowMs)
    }
  }
}

for (const loadBalancing of ['oldest', 'youngest', 'random', 'least-loaded'] as const) {
  t.test(`Q6 with ${loadBalancing}, callbacks that call back lose nobody and break no limit`, async t => {
    let answered = 0
    fc.assert(
      fc.property(fc.integer(), seed => {
        const world = new World(seed, loadBalancing)
        for (let step = 0; step < 200; step++) {
          world.act()
          const { slotsInUse, slotsAvailable, waiting } = world.machine.counts()
          if (slotsInUse !== world.running.length) throw new Error('a slot was lost')
          if (waiting > 0 && slotsAvailable > 0) throw new Error('somebody waits beside a free slot')
        }
        world.nowMs += 1000
        world.machine.expire(world.nowMs)
        world.nowMs += 1000
        world.machine.expire(world.nowMs)
        for (const waiter of world.all) {
          const expected = waiter.isCancelled || waiter.isWaiting ? 0 : 1
          if (waiter.answers !== expected) throw new Error(`answered ${waiter.answers} times instead of ${expected}`)
          answered += waiter.answers
        }
        if (world.violations.length > 0) throw new Error(world.violations.join())
      }),
      { seed: 21, numRuns: 200 },
    )
    t.ok(answered > 2000, `${answered} waiters were answered`)
  })
}

function sameJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
