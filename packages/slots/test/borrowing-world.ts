import { createPrng, type Prng } from '@waiter/base'
import {
  type BorrowedInstance,
  BorrowedSlot,
  DEFAULT_EJECTION,
  ExpectedRouters,
  type QueueFailure,
  type ReleaseStatus,
  ReservationMachine,
  type RouterAssignment,
  type RouterBelief,
  type SharedService,
  type Slot,
  SlotBorrower,
  type SlotGrant,
  SlotLedger,
  SlotLender,
  Waiter,
} from '@waiter/slots'

export const SERVICE = 'the-service'
const NEVER = -1

export interface WorldOptions {
  readonly seed: number
  readonly routers: number
  readonly instances: number
  readonly slotsPerInstance: number
  readonly delayMs: readonly [min: number, max: number]
  /** From a router to an instance, and back; without it, a slot that is granted is in use at once. */
  readonly instanceDelayMs?: readonly [min: number, max: number]
  /** How long it takes to open a stream between two routers. */
  readonly connectMs?: number
  /** None runs until `startInstances`, as of a service that is asked for the first time. */
  readonly isStartingIdle?: boolean
  /** These can reach the leader, and no other router. */
  readonly isolated?: readonly string[]
  /** No borrowing: what the leader leases is all there is. */
  readonly isBorrowing?: boolean
}

/** One request: waits somewhere, runs on an instance, ends. */
export class Request extends Waiter {
  readonly world: World
  readonly router: ModelRouter
  readonly arrivedAtMs: number
  readonly serviceMs: number
  /** Whose it is. */
  readonly flow: number
  slot: Slot | undefined
  startedAtMs = NEVER
  endedAtMs = NEVER
  answers = 0
  isLost = false

  constructor(world: World, router: ModelRouter, serviceMs: number, flow: number) {
    super()
    this.flow = flow
    this.world = world
    this.router = router
    this.arrivedAtMs = world.nowMs
    this.serviceMs = serviceMs
  }

  granted(slot: Slot): void {
    const { world, router } = this
    this.answers += 1
    this.slot = slot
    world.onStart(slot.instanceId)
    router.running.add(this)
    router.begun += 1
    this.startedAtMs = world.nowMs + world.instanceDelay()
    const endMs = this.startedAtMs - world.nowMs + this.serviceMs + world.instanceDelay()
    world.after(endMs, () => this.end('success'))
  }

  failed(failure: QueueFailure): void {
    throw new Error(`no request of these tests can fail: ${failure.kind}`)
  }

  end(status: ReleaseStatus): void {
    const { slot, router, world } = this
    if (slot === undefined || this.isLost) return
    this.slot = undefined
    this.endedAtMs = world.nowMs
    world.onEnd(slot.instanceId)
    router.running.delete(this)
    router.release(slot, status)
  }
}

/** A stream between a borrower and a lender; messages in one direction keep their order. */
class Stream {
  isBroken = false
  readonly borrower: ModelRouter
  readonly lender: ModelRouter
  readonly #world: World
  readonly #lastAtMs = { up: 0, down: 0 }

  constructor(world: World, borrower: ModelRouter, lender: ModelRouter) {
    this.#world = world
    this.borrower = borrower
    this.lender = lender
    this.#lastAtMs.up = world.nowMs + (world.options.connectMs ?? 0)
  }

  send(direction: 'up' | 'down', deliver: () => void): void {
    this.#world.messages += 1
    const atMs = Math.max(this.#lastAtMs[direction], this.#world.nowMs + this.#world.delay())
    this.#lastAtMs[direction] = atMs
    this.#world.after(atMs - this.#world.nowMs, () => {
      const target = direction === 'up' ? this.lender : this.borrower
      if (!this.isBroken && target.isAlive) deliver()
    })
  }

  /** Both sides notice, each in its own time; what is under way is lost. */
  break(): void {
    if (this.isBroken) return
    this.isBroken = true
    this.#world.after(this.#world.delay(), () => this.borrower.onStreamLost(this))
    this.#world.after(this.#world.delay(), () => this.lender.onBorrowerLost(this))
  }
}

/** A router with nothing but the pure machines. */
export class ModelRouter implements SharedService {
  readonly id: string
  readonly #world: World
  readonly machine: ReservationMachine
  readonly lender: SlotLender
  readonly borrower: SlotBorrower
  readonly running: Set<Request> = new Set()
  readonly streams = new Map<string, Stream>()
  readonly borrowers = new Map<string, Stream>()
  readonly deadRouters = new Set<string>()
  isAlive = true
  isAskedFor = false
  adopted = 0
  begun = 0
  version = 0
  lastLeaderAtMs = { up: 0, down: 0 }

  constructor(world: World, id: string) {
    this.#world = world
    this.id = id
    this.machine = new ReservationMachine({
      loadBalancing: 'least-loaded',
      concurrencyLevel: world.options.slotsPerInstance,
      ejection: DEFAULT_EJECTION,
      maxQueueLength: 1e6,
      prng: world.prng,
    })
    const shared = { find: () => this, nowMs: () => world.nowMs }
    this.lender = new SlotLender({ ...shared, send: (borrowerId, grant) => this.#sendGrant(borrowerId, grant) })
    this.borrower = new SlotBorrower({ ...shared, onNews: () => world.after(0, () => this.#flush()) })
  }

  accept(serviceMs: number, flow: number): Request {
    this.isAskedFor = true
    const request = new Request(this.#world, this, serviceMs, flow)
    const slot = this.machine.reserve(this.#world.nowMs)
    if (slot !== undefined) request.granted(slot)
    else this.machine.enqueue(request, Number.POSITIVE_INFINITY, 0, request.arrivedAtMs, flow)
    this.#noteQueue()
    return request
  }

  release(slot: Slot, status: ReleaseStatus): void {
    if (slot instanceof BorrowedSlot) this.borrower.release(slot, status)
    else this.giveBack(slot, status)
  }

  giveBack(slot: Slot, status: ReleaseStatus): void {
    this.machine.release(slot, status, this.#world.nowMs)
    this.#noteQueue()
    if (slot.isRetired || slot.inUse >= slot.slots) this.acknowledge()
  }

  lend({ instanceId, host, port, startedAtMs }: Slot): BorrowedInstance {
    return { instanceId, host, port, startedAtMs, extraPorts: [], logDirectory: null }
  }

  adopt(instance: BorrowedInstance): Slot {
    const slot = this.machine.adopt(instance)
    this.adopted += 1
    this.acknowledge()
    return slot
  }

  get outstanding(): number {
    return this.running.size + this.machine.waiting
  }

  // -- the leader

  apply({ version, instances }: RouterAssignment): void {
    this.version = version
    this.machine.update(instances, this.#world.nowMs)
    this.#noteQueue()
    this.acknowledge()
  }

  acknowledge(): void {
    if (!this.isAlive) return
    const { version } = this
    const inUse = this.machine.inUseByInstance()
    this.#world.toLeader(this, () => {
      const { ledger } = this.#world
      if (version > 0) ledger.ack(this.id, version, inUse)
      else ledger.noteUse(this.id, inUse)
    })
  }

  routerDied(id: string): void {
    this.deadRouters.add(id)
    const stream = this.streams.get(id)
    if (stream !== undefined) stream.isBroken = true
    this.streams.delete(id)
    this.borrower.dead(id)
    this.borrowers.delete(id)
    this.lender.gone(id)
    this.acknowledge()
  }

  /** Nobody leads: what was taken away while in use serves on. */
  leaderLost(): void {
    if (this.isAlive) this.machine.keepInUse()
  }

  /** A new leader hears what this router believes. */
  attach(): void {
    if (!this.isAlive) return
    this.borrower.adoptAll()
    this.version = 0
    const states = this.machine.instanceStates()
    const belief = {
      slotsByInstance: new Map(states.map(({ instanceId, slots, isRetired }) => [instanceId, isRetired ? 0 : slots])),
      inUseByInstance: new Map(states.map(({ instanceId, inUse }) => [instanceId, inUse])),
    }
    this.#world.toLeader(this, () => this.#world.joined(this.id, belief))
    this.#world.noteDemand(this)
  }

  // -- streams

  onStreamLost(stream: Stream): void {
    if (!this.isAlive || this.streams.get(stream.lender.id) !== stream) return
    this.streams.delete(stream.lender.id)
    this.borrower.lost(stream.lender.id)
    this.#world.after(20, () => this.#reopen(stream.lender.id))
  }

  onBorrowerLost(stream: Stream): void {
    if (!this.isAlive || this.borrowers.get(stream.borrower.id) !== stream) return
    this.borrowers.delete(stream.borrower.id)
    this.lender.lost(stream.borrower.id)
  }

  #reopen(lenderId: string): void {
    if (!this.isAlive || this.deadRouters.has(lenderId) || this.streams.has(lenderId)) return
    this.#openStream(lenderId)
    this.borrower.retry(lenderId)
  }

  #openStream(lenderId: string): boolean {
    const lender = this.#world.routers.get(lenderId)
    if (lender === undefined || this.deadRouters.has(lenderId)) return false
    const { isolated = [] } = this.#world.options
    if (isolated.includes(this.id) || isolated.includes(lenderId)) return false
    const stream = new Stream(this.#world, this, lender)
    this.streams.set(lenderId, stream)
    const held = this.borrower.connected(lenderId)
    if (!lender.isAlive) {
      stream.break()
      return true
    }
    stream.send('up', () => {
      lender.borrowers.set(this.id, stream)
      lender.lender.connected(this.id, held)
    })
    return true
  }

  #flush(): void {
    if (!this.isAlive || this.#world.options.isBorrowing === false) return
    const news = this.borrower.collect(lenderId => this.#openStream(lenderId))
    for (const [lenderId, { needs, returns }] of news) {
      const stream = this.streams.get(lenderId)
      stream?.send('up', () => {
        for (const need of needs) stream.lender.lender.need(this.id, need)
        for (const back of returns) stream.lender.lender.returned(this.id, back)
      })
    }
  }

  #sendGrant(borrowerId: string, grant: SlotGrant): void {
    const stream = this.borrowers.get(borrowerId)
    stream?.send('down', () => {
      if (stream.borrower.streams.get(this.id) === stream) stream.borrower.borrower.granted(this.id, grant)
    })
  }

  #noteQueue(): void {
    this.borrower.noteQueue(SERVICE)
    this.#world.noteDemand(this)
  }
}

/** Routers, a leader that leases, and a network, all in virtual time. */
export class World {
  readonly options: WorldOptions
  readonly prng: Prng
  readonly routers = new Map<string, ModelRouter>()
  #expected = new ExpectedRouters()
  ledger = new SlotLedger(this.#expected)
  hasLeader = true
  #term = 0
  readonly requests: Request[] = []
  readonly violations: string[] = []
  readonly runningOn = new Map<string, number>()
  readonly killed = new Set<string>()
  nowMs = 0
  running = 0
  /** Messages between routers. */
  messages = 0
  /** Assignments that a router got. */
  assigned = 0
  /** The longest time that somebody waited while a slot was free and no message of a lease was under way. */
  idleMsMax = 0
  #idleSinceMs = NEVER
  #events: { atMs: number; order: number; run: () => void }[] = []
  #order = 0
  #instances: string[] = []
  #isReviewDue = false
  #lastRouter = 0
  #told = ''
  readonly #burials = new Map<string, Set<string>>()

  constructor(options: WorldOptions) {
    this.options = options
    this.prng = createPrng(options.seed)
    if (options.isStartingIdle !== true) this.startInstances()
    for (let count = 0; count < options.routers; count++) this.addRouter()
    this.#turn()
  }

  get slots(): number {
    return this.options.instances * this.options.slotsPerInstance
  }

  /** Instances that are to go and may not be stopped yet. */
  get doomed(): number {
    return this.#doomed.size
  }

  get living(): ModelRouter[] {
    return [...this.routers.values()].filter(router => router.isAlive)
  }

  delay(): number {
    const [min, max] = this.options.delayMs
    return min + this.prng.next() * (max - min)
  }

  instanceDelay(): number {
    const [min, max] = this.options.instanceDelayMs ?? [0, 0]
    return max === 0 ? 0 : min + this.prng.next() * (max - min)
  }

  after(delayMs: number, run: () => void): void {
    const event = { atMs: this.nowMs + delayMs, order: ++this.#order, run }
    let low = 0
    let high = this.#events.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const other = this.#events[middle]!
      if (other.atMs > event.atMs || (other.atMs === event.atMs && other.order > event.order)) low = middle + 1
      else high = middle
    }
    this.#events.splice(low, 0, event)
  }

  runUntil(atMs: number): void {
    for (let event = this.#events.at(-1); event !== undefined && event.atMs <= atMs; event = this.#events.at(-1)) {
      this.#events.pop()
      if (event.atMs > this.nowMs) this.#observe()
      this.nowMs = event.atMs
      event.run()
    }
    if (atMs > this.nowMs) this.#observe()
    this.nowMs = atMs
  }

  arrive(router: ModelRouter, serviceMs: number, flow = 0): void {
    this.requests.push(router.accept(serviceMs, flow))
  }

  onStart(instanceId: string): void {
    const count = (this.runningOn.get(instanceId) ?? 0) + 1
    this.runningOn.set(instanceId, count)
    this.running += 1
    if (count > this.options.slotsPerInstance) this.violations.push(`${count} run on ${instanceId} at ${this.nowMs}`)
    if (this.killed.has(instanceId)) this.violations.push(`${instanceId} was stopped and got a request`)
  }

  onEnd(instanceId: string): void {
    this.runningOn.set(instanceId, (this.runningOn.get(instanceId) ?? 0) - 1)
    this.running -= 1
  }

  /** Since when somebody waits although a slot is free: looked at whenever time goes on. */
  #observe(): void {
    const isIdle = this.running < this.slots && this.living.some(router => router.machine.waiting > 0)
    if (!isIdle) this.#idleSinceMs = NEVER
    else if (this.#idleSinceMs === NEVER) this.#idleSinceMs = this.nowMs
    else this.idleMsMax = Math.max(this.idleMsMax, this.nowMs - this.#idleSinceMs)
  }

  // -- mishaps

  breakStream(): void {
    const streams = this.living.flatMap(router => [...router.streams.values()])
    streams[this.prng.below(streams.length || 1)]?.break()
  }

  addRouter(): void {
    const router = new ModelRouter(this, `r${++this.#lastRouter}`)
    this.routers.set(router.id, router)
    this.ledger.routerJoined(router.id)
    this.review()
  }

  /** The process ends with all its requests; the leader learns of it, and all others acknowledge that. */
  crash(router: ModelRouter): void {
    router.isAlive = false
    for (const request of router.running) {
      request.isLost = true
      if (request.slot !== undefined) this.onEnd(request.slot.instanceId)
    }
    router.running.clear()
    for (const waiter of router.machine.waiters()) if (waiter instanceof Request) waiter.isLost = true
    for (const stream of [...router.streams.values(), ...router.borrowers.values()]) stream.break()
    const bury = (): void => {
      if (!this.hasLeader) {
        this.after(50, bury)
        return
      }
      this.#burials.set(router.id, new Set(this.living.map(({ id }) => id)))
      for (const deadId of [...this.#burials.keys()]) this.#heard(deadId, router.id)
      for (const other of this.living)
        this.toRouter(other, () => {
          other.routerDied(router.id)
          this.toLeader(other, () => this.#heard(router.id, other.id))
        })
      this.addRouter()
    }
    this.after(50 + this.delay(), bury)
  }

  /** Nobody leads for a while; whatever was under way to or from the leader is lost. The next one knows what routers say. */
  loseLeader(forMs: number): void {
    if (!this.hasLeader || this.#burials.size > 0) return
    this.hasLeader = false
    this.#term += 1
    for (const router of this.living) this.after(this.delay(), () => router.leaderLost())
    this.after(forMs, () => {
      this.#expected = new ExpectedRouters()
      this.ledger = new SlotLedger(this.#expected)
      this.hasLeader = true
      this.#told = ''
      this.#setInstances()
      for (const router of this.routers.values())
        if (router.isAlive || !this.#buried.has(router.id)) this.#expected.expect(router.id)
      for (const router of this.living) router.attach()
      this.review()
    })
  }

  joined(routerId: string, belief: RouterBelief): void {
    this.ledger.routerJoined(routerId, belief)
    this.#expected.settle(routerId)
  }

  readonly #buried = new Set<string>()

  /** Slots of a dead router are free when every survivor has told what it runs on them. */
  #heard(deadId: string, survivorId: string): void {
    const waitingFor = this.#burials.get(deadId)
    waitingFor?.delete(survivorId)
    if (waitingFor === undefined || waitingFor.size > 0) return
    this.#burials.delete(deadId)
    this.#buried.add(deadId)
    this.ledger.routerDead(deadId)
    this.#expected.settle(deadId)
    this.review()
  }

  startInstances(): void {
    for (let count = 1; count <= this.options.instances; count++) this.#instances.push(`i${count}`)
    this.#setInstances()
    this.review()
  }

  /** One instance is to go: stopped once nobody can send to it. */
  retire(): void {
    const [instanceId] = this.#instances
    if (instanceId === undefined) return
    this.#instances = this.#instances.slice(1)
    this.#instances.push(`i${++this.#order}`)
    this.#setInstances()
    this.#doomed.add(instanceId)
    this.review()
  }

  readonly #doomed = new Set<string>()

  #setInstances(): void {
    this.ledger.setInstances(
      this.#instances.map(instanceId => ({
        instanceId,
        host: 'h',
        port: 1,
        slots: this.options.slotsPerInstance,
        startedAtMs: 1,
      })),
    )
  }

  // -- the leader

  toLeader(router: ModelRouter, deliver: () => void): void {
    this.#post(router, 'up', () => {
      deliver()
      this.review()
    })
  }

  toRouter(router: ModelRouter, deliver: () => void): void {
    this.#post(router, 'down', () => {
      if (router.isAlive) deliver()
    })
  }

  noteDemand(router: ModelRouter): void {
    const { outstanding, begun } = router
    this.toLeader(router, () => this.ledger.setDemand(router.id, outstanding, begun))
  }

  review(): void {
    if (this.#isReviewDue) return
    this.#isReviewDue = true
    this.after(0, () => {
      this.#isReviewDue = false
      this.#share()
    })
  }

  #turn(): void {
    this.review()
    this.after(1_000, () => this.#turn())
  }

  #share(): void {
    if (!this.hasLeader) return
    for (const assignment of this.ledger.rebalance(Math.floor(this.nowMs / 1_000))) {
      const router = this.routers.get(assignment.routerId)
      this.assigned += 1
      if (router !== undefined) this.toRouter(router, () => router.apply(assignment))
    }
    for (const instanceId of this.#doomed) {
      if (!this.ledger.isReleased(instanceId)) continue
      this.#doomed.delete(instanceId)
      this.killed.add(instanceId)
      if ((this.runningOn.get(instanceId) ?? 0) > 0) this.violations.push(`${instanceId} was stopped while in use`)
    }
    this.#tellLenders()
  }

  #tellLenders(): void {
    const lenderIds = this.ledger.holderIds
    const told = `${lenderIds.join()}/${this.routers.size}`
    if (told === this.#told) return
    this.#told = told
    for (const router of this.living)
      this.toRouter(router, () =>
        router.borrower.setLenders(
          SERVICE,
          lenderIds.filter(id => id !== router.id),
        ),
      )
  }

  #post(router: ModelRouter, direction: 'up' | 'down', deliver: () => void): void {
    const atMs = Math.max(router.lastLeaderAtMs[direction], this.nowMs + this.delay())
    router.lastLeaderAtMs[direction] = atMs
    const term = this.#term
    this.after(atMs - this.nowMs, () => {
      if (term === this.#term && this.hasLeader) deliver()
    })
  }
}

/** Waits of the same requests in one queue for all slots. */
export function waitsOfOneQueue(
  requests: readonly { readonly arrivedAtMs: number; readonly serviceMs: number }[],
  slots: number,
): number[] {
  const freeAtMs = new Array<number>(slots).fill(0)
  return requests.map(({ arrivedAtMs, serviceMs }) => {
    let first = 0
    for (let at = 1; at < slots; at++) if (freeAtMs[at]! < freeAtMs[first]!) first = at
    const startMs = Math.max(arrivedAtMs, freeAtMs[first]!)
    freeAtMs[first] = startMs + serviceMs
    return startMs - arrivedAtMs
  })
}

export function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0
}
