import type { RouterId, ServiceId, Term } from '@waiter/base'
import type { AgentHost } from '@waiter/control'
import type { Waiter } from '@waiter/slots'
import type { SimControl } from './sim-control.ts'
import { SETTINGS } from './sim-control.ts'
import type { SimRequest, SimRouter } from './sim-router.ts'
import type { SimInstance, SimService } from './sim-scheduler.ts'
import { Violation } from './violation.ts'
import type { World } from './world.ts'

/** S4: a request waits no longer than this while a router that it could borrow from has a free slot. */
export const WAIT_BOUND_MS = 2_000
/** S3: demand that lasted for so long is known to every leader, a new one included. */
const DEMAND_WINDOW_MS = 8_000
const SAMPLE_MS = 100
/** Slack for a message on its way when a router is given up. */
const GIVE_UP_SLACK_MS = 500

interface DemandSample {
  readonly atMs: number
  readonly outstanding: ReadonlyMap<ServiceId, number>
}

/** What must hold at every moment (README.md, S1 to S7). */
export class Checks {
  readonly #world: World
  violation: { readonly check: string; readonly message: string; readonly atMs: number } | undefined
  accepts = 0
  answers = 0
  vanishes = 0
  stops = 0
  reigns = 0
  givenUpAlive = 0
  #highestTerm: Term = 0
  #isBelievedDirty = true
  #sampledAtMs = 0
  readonly #demand = new Map<SimRouter, DemandSample[]>()
  /** By router and service: the request at the head of the queue, and since when it could have been served elsewhere. */
  readonly #waits = new Map<string, { readonly waiter: Waiter; readonly sinceMs: number }>()
  readonly #attached = new Map<RouterId, { readonly term: Term; isOpen: boolean; endedAtMs: number }>()

  constructor(world: World) {
    this.#world = world
  }

  fail(check: string, message: string): void {
    this.violation ??= { check, message, atMs: this.#world.time.nowMs }
  }

  require(): void {
    if (this.violation !== undefined) throw new Violation(this.violation.check, this.violation.message)
  }

  /** After each moment in which anything happened. */
  atMoment(): void {
    if (this.#isBelievedDirty) this.#checkBelieved()
    const { nowMs } = this.#world.time
    if (nowMs < this.#sampledAtMs + SAMPLE_MS) return
    this.#sampledAtMs = nowMs
    this.#sampleDemand()
    this.#checkWaits()
  }

  // -- S1: slots -----------------------------------------------------------------------------------------------------

  began(request: SimRequest, instance: SimInstance): void {
    if (request.isExempt) return
    const { runtime, router } = request
    const slots = runtime.definition.effective['concurrency-level']
    const counted = [...instance.runs].filter(run => !(run as SimRequest).isExempt) as SimRequest[]
    if (counted.length <= slots) return
    const routers = counted.map(run => run.router.id).join(' ')
    this.fail(
      'slots',
      `${counted.length} requests run on ${instance.record.instanceId}, which has ${slots} slots: ${routers}; the last is ${router.id}'s`,
    )
  }

  #checkBelieved(): void {
    this.#isBelievedDirty = false
    for (const definition of this.#world.definitions) {
      const believed = new Map<string, number>()
      for (const router of this.#world.livingRouters()) {
        if (router.isGivenUp) continue
        for (const { instanceId, slots, isRetired } of router.table.get(definition.id)?.machine.instanceStates() ?? [])
          if (!isRetired) believed.set(instanceId, (believed.get(instanceId) ?? 0) + slots)
      }
      for (const { record } of this.#world.scheduler.running(definition.id)) {
        const count = believed.get(record.instanceId) ?? 0
        const slots = definition.effective['concurrency-level']
        if (count > slots)
          this.fail('slots', `routers believe that they have ${count} of ${slots} slots of ${record.instanceId}`)
      }
    }
  }

  // -- S2, S3: stops ---------------------------------------------------------------------------------------------------

  stopping(service: SimService, instances: readonly SimInstance[], term: Term, isDelete: boolean): void {
    this.stops += 1
    const what = isDelete ? 'delete' : 'kill'
    for (const { record, runs } of instances) {
      const { instanceId } = record
      for (const run of runs as Set<SimRequest>)
        if (!run.isExempt)
          this.fail('kill', `${what} of ${instanceId} in term ${term}: a request of ${run.router.id} runs there`)
      for (const router of this.#world.livingRouters()) {
        if (router.isGivenUp) continue
        const state = router.table.get(service.definition.id)?.machine.instanceStates() ?? []
        if (state.some(entry => entry.instanceId === instanceId && !entry.isRetired && entry.slots > 0))
          this.fail('kill', `${what} of ${instanceId} in term ${term}: ${router.id} may still send there`)
      }
    }
    this.#checkDemand(service, term, isDelete)
  }

  #checkDemand(service: SimService, term: Term, isDelete: boolean): void {
    const left = isDelete ? 0 : service.requested - 1
    const { effective } = service.definition
    const leader = this.#world.controls.find(({ reign }) => reign?.term === term)
    if (leader === undefined) return
    const lasting = this.#lastingDemand(service.definition.id, leader)
    const needed = Math.min(effective['max-instances'], Math.ceil(lasting / effective['concurrency-level']))
    if (left < needed)
      this.fail(
        'scale-down',
        `term ${term} leaves ${left} instances of ${service.definition.id}; ${lasting} requests at routers in reach have needed ${needed} for ${DEMAND_WINDOW_MS} ms`,
      )
  }

  /** The least that was demanded at any moment of the last while, at routers that the leader could hear all the time. */
  #lastingDemand(id: ServiceId, leader: SimControl): number {
    const { nowMs } = this.#world.time
    const routers = this.#world.livingRouters().filter(router => {
      const samples = this.#demand.get(router)
      return (
        samples?.[0] !== undefined &&
        samples[0].atMs <= nowMs - DEMAND_WINDOW_MS + SAMPLE_MS * 2 &&
        !router.isGivenUp &&
        this.#world.calmMs(router, leader.process) >= DEMAND_WINDOW_MS
      )
    })
    const [first] = routers
    if (first === undefined) return 0
    let least = Number.POSITIVE_INFINITY
    for (const { atMs } of this.#demand.get(first) ?? []) {
      let sum = 0
      for (const router of routers)
        sum +=
          this.#demand
            .get(router)
            ?.find(sample => sample.atMs === atMs)
            ?.outstanding.get(id) ?? 0
      least = Math.min(least, sum)
    }
    return least
  }

  #sampleDemand(): void {
    const { nowMs } = this.#world.time
    for (const router of [...this.#demand.keys()]) if (!router.isAlive) this.#demand.delete(router)
    for (const router of this.#world.livingRouters()) {
      const samples = this.#demand.get(router) ?? []
      samples.push({
        atMs: nowMs,
        outstanding: new Map(this.#world.definitions.map(({ id }) => [id, router.outstanding(id)])),
      })
      while (samples[0] !== undefined && samples[0].atMs < nowMs - DEMAND_WINDOW_MS) samples.shift()
      this.#demand.set(router, samples)
    }
  }

  // -- S4: waits -------------------------------------------------------------------------------------------------------

  #checkWaits(): void {
    for (const definition of this.#world.definitions)
      for (const router of this.#world.livingRouters()) this.#checkWait(router, definition.id)
  }

  #checkWait(router: SimRouter, id: ServiceId): void {
    const key = `${router.id} ${id}`
    const machine = router.table.get(id)?.machine
    const [head] = machine?.nextWaiters(1) ?? []
    if (machine === undefined || head === undefined || !this.#couldBorrow(router, id)) {
      this.#waits.delete(key)
      return
    }
    const { nowMs } = this.#world.time
    if (machine.slotsAvailable > 0) this.fail('wait', `a request waits at ${router.id}, which has a free slot itself`)
    const known = this.#waits.get(key)
    if (known?.waiter !== head) this.#waits.set(key, { waiter: head, sinceMs: nowMs })
    else if (nowMs > known.sinceMs + WAIT_BOUND_MS)
      this.fail(
        'wait',
        `a request of ${id} waits at ${router.id} for more than ${WAIT_BOUND_MS} ms while another router has a free slot`,
      )
  }

  #couldBorrow(router: SimRouter, id: ServiceId): boolean {
    const { agent } = router
    const isCalm = (other: SimRouter): boolean => {
      const control = this.#world.controls.find(({ name }) => name === other.agent.leader.leaderId)
      return (
        other.agent.leader.isConnected &&
        control?.leads === true &&
        this.#world.calmMs(other, control.process) >= WAIT_BOUND_MS &&
        !other.isGivenUp
      )
    }
    if (!isCalm(router)) return false
    return this.#world
      .livingRouters()
      .some(
        other =>
          other !== router &&
          (other.table.get(id)?.machine.slotsAvailable ?? 0) > 0 &&
          other.agent.leader.term === agent.leader.term &&
          isCalm(other) &&
          this.#world.calmMs(router, other.process) >= WAIT_BOUND_MS,
      )
  }

  // -- S5: answers -----------------------------------------------------------------------------------------------------

  accepted(_request: SimRequest): void {
    this.accepts += 1
  }

  answered(_request: SimRequest): void {
    this.answers += 1
  }

  vanished(_request: SimRequest): void {
    this.vanishes += 1
  }

  // -- S6: terms -------------------------------------------------------------------------------------------------------

  reignBegan(term: Term): void {
    this.reigns += 1
    this.#highestTerm = Math.max(this.#highestTerm, term)
  }

  /** The scheduler carries something out. */
  ordered(term: Term): void {
    if (term < this.#highestTerm)
      this.fail('fence', `the scheduler does what a leader of term ${term} orders, in term ${this.#highestTerm}`)
  }

  /** What the agent calls; looks at what it applies. */
  watchHost(router: SimRouter): AgentHost {
    let lastTerm = 0
    let lastVersion = 0
    const { table } = router
    return Object.assign(Object.create(table) as AgentHost, {
      applyAssignment: (change: Parameters<AgentHost['applyAssignment']>[0]) => {
        const { leaderTerm = 0, arrivedVersion = 0 } = router.stream ?? {}
        if (leaderTerm < lastTerm) this.fail('terms', `${router.id} follows term ${leaderTerm} after term ${lastTerm}`)
        if (change.isFull) lastVersion = 0
        if (arrivedVersion <= lastVersion) this.fail('terms', `${router.id} goes back to version ${arrivedVersion}`)
        lastTerm = leaderTerm
        lastVersion = arrivedVersion
        if (change.isFull) this.#heardByLeader(router, leaderTerm)
        this.#isBelievedDirty = true
        table.applyAssignment(change)
      },
      leaderLost: () => table.leaderLost(),
      collectLoads: (all: boolean) => table.collectLoads(all),
      collectUse: (ids: readonly ServiceId[]) => table.collectUse(ids),
      collectReducedUse: () => table.collectReducedUse(),
      collectBeliefs: () => table.collectBeliefs(),
      collectNeeds: () => table.collectNeeds(),
      collectRelated: () => table.collectRelated(),
      collectReferences: (all: boolean) => table.collectReferences(all),
      collectSuccessions: () => table.collectSuccessions(),
    })
  }

  // -- S7: who is given up ----------------------------------------------------------------------------------------------

  attached(routerId: RouterId, term: Term): void {
    this.#attached.set(routerId, { term, isOpen: true, endedAtMs: 0 })
  }

  detached(routerId: RouterId, term: Term): void {
    const known = this.#attached.get(routerId)
    if (known?.term !== term || !known.isOpen) return
    known.isOpen = false
    known.endedAtMs = this.#world.time.nowMs
  }

  #heardByLeader(router: SimRouter, term: Term): void {
    // One that was deposed and does not know it knows no better either.
    if (term >= router.givenUpIn) router.isGivenUp = false
  }

  givenUp(routerId: RouterId, control: SimControl): void {
    const router = this.#world.livingRouters().find(({ id }) => id === routerId)
    if (router === undefined) return
    this.givenUpAlive += 1
    router.isGivenUp = true
    router.givenUpIn = Math.max(router.givenUpIn, control.reign?.term ?? 0)
    for (const request of router.requests) request.isExempt = true
    const known = this.#attached.get(routerId)
    const { startedAtMs = 0, term = 0 } = control.reign ?? {}
    const isKnown = known?.term === term
    const missedMs = this.#world.time.nowMs - (isKnown ? known.endedAtMs : startedAtMs)
    if ((isKnown && known.isOpen) || missedMs < SETTINGS.routerDeadAfterMs - GIVE_UP_SLACK_MS)
      this.fail('given up', `${control.name} gives up ${routerId}, which lives and was there ${missedMs} ms ago`)
  }
}
