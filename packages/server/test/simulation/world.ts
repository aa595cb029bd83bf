import { createPrng, type Logger, type Prng, type RouterId, silentLogger } from '@waiter/base'
import { createExampleDefinition } from '@waiter/schedulers/contract'
import type { ServiceDefinition } from '@waiter/services'
import { createMemoryStore, type KeyValueStore } from '@waiter/store'
import type { AttachRequest, AttachResponse } from '../../../control/src/generated/waiter/v1/coordinator.ts'
import { Checks } from './checks.ts'
import type { Mutant } from './mutants.ts'
import { SimControl } from './sim-control.ts'
import { type ServerEnd, SimNetwork, type SimStream } from './sim-network.ts'
import { SimRaft } from './sim-raft.ts'
import { SimRouter } from './sim-router.ts'
import { SimScheduler } from './sim-scheduler.ts'
import { type SimProcess, SimTime } from './sim-time.ts'

/** What the leader says when it gives a router up; its only sign to the outside. */
const GIVEN_UP = 'gave a lost router up; its slots go to others'

export interface WorldOptions {
  readonly seed: number
  readonly routers: number
  readonly mutant: Mutant | undefined
  readonly log?: Logger
}

/** A whole cluster: three control nodes, routers, one scheduler, and the network between them. */
export class World {
  readonly time = new SimTime()
  readonly random: Prng
  readonly mutant: Mutant | undefined
  readonly log: Logger
  readonly network: SimNetwork
  readonly scheduler: SimScheduler
  readonly store: KeyValueStore = createMemoryStore()
  readonly checks: Checks
  readonly definitions: readonly ServiceDefinition[] = [
    define('narrow', { 'concurrency-level': 1, 'max-instances': 6 }),
    define('wide', { 'concurrency-level': 4, 'max-instances': 3 }),
    define('kept', { 'concurrency-level': 2, 'max-instances': 4, 'min-instances': 2 }),
  ]
  readonly controls: readonly SimControl[]
  readonly routers: SimRouter[] = []
  #routersMade = 0
  #requestsEnded = 0
  readonly #calmSinceMs = new Map<string, number>()

  constructor({ seed, routers, mutant, log = silentLogger }: WorldOptions) {
    this.random = createPrng(seed)
    this.mutant = mutant
    this.log = log
    this.network = new SimNetwork(this.time, this.random)
    this.scheduler = new SimScheduler(this.time, this.random)
    this.checks = new Checks(this)
    this.scheduler.ignoresFences = mutant?.ignoresFences === true
    this.scheduler.onStop = stop => this.checks.stopping(stop.service, stop.instances, stop.term, stop.isDelete)
    this.scheduler.onCall = term => this.checks.ordered(term)
    this.time.onMoment = () => {
      this.checks.atMoment()
      this.checks.require()
    }
    const group: SimRaft[] = []
    const raftOptions = mutant?.believesAnyTerm === true ? { checkQuorum: false, preVote: false } : {}
    for (const id of [1, 2, 3]) group.push(new SimRaft(id, group, this.network, this.random, raftOptions))
    this.controls = group.map(raft => new SimControl(this, raft))
    for (let seat = 1; seat <= routers; seat++) this.startRouter(`r${seat}`)
  }

  startRouter(seat: string): void {
    this.#routersMade += 1
    this.routers.push(new SimRouter(this, seat, `${seat}-${this.#routersMade}`))
  }

  livingRouters(): SimRouter[] {
    return this.routers.filter(({ isAlive }) => isAlive)
  }

  crashRouter(router: SimRouter): void {
    router.crash()
    this.routers.splice(this.routers.indexOf(router), 1)
    // Its host may have seen it, and have another router that tells.
    const others = this.livingRouters()
    const witness = others[this.random.below(2 * others.length)]
    if (witness === undefined) return
    this.time.after(1 + this.random.below(10), () => witness.process.run(() => witness.agent.tellEnded(router.id)))
  }

  pause(process: SimProcess, ms: number): void {
    process.pause(ms)
    this.network.paused(process)
    this.#calmSinceMs.set(process.name, this.time.nowMs + ms)
  }

  /** The leader's log tells whom it gives up. */
  leaderLog(control: SimControl): Logger {
    const { process } = control
    return {
      ...this.log,
      warn: (fields, message) => {
        this.log.warn(fields, message)
        if (message === GIVEN_UP && process.isAlive) this.checks.givenUp(fields['routerId'] as RouterId, control)
      },
    }
  }

  /** Looks over the leader's shoulder when a router attaches. */
  watchAttach(control: SimControl, call: ServerEnd, stream: SimStream): void {
    let routerId: RouterId | undefined
    call.on('data', (request: AttachRequest) => {
      // A hello may come when this node does not lead yet, or not any more: it is refused.
      if (request.message?.$case !== 'hello' || control.reign === undefined || !control.leads) return
      routerId = request.message.value.routerId
      stream.leaderTerm = control.reign.term
      this.checks.attached(routerId, stream.leaderTerm)
    })
    call.on('cancelled', () => routerId !== undefined && this.checks.detached(routerId, stream.leaderTerm))
    call.on('end', () => routerId !== undefined && this.checks.detached(routerId, stream.leaderTerm))
    const { leaderSays, believesAnyTerm } = this.mutant ?? {}
    stream.clientEnd.on('data', (response: AttachResponse) => {
      if (response.message?.$case !== 'assignment') return
      stream.arrivedVersion = response.message.value.version
    })
    if (leaderSays !== undefined)
      stream.tamperDown = message => leaderSays(message as AttachResponse, forged => stream.forgeUp(forged))
    if (believesAnyTerm === true) stream.tamperDown = message => [withTerm(message as AttachResponse)]
  }

  /** For how long nothing has stood between a router and another process. */
  calmMs(router: SimRouter, other: SimProcess): number {
    const { nowMs } = this.time
    const since = Math.max(this.#calmSinceMs.get(router.process.name) ?? 0, this.#calmSinceMs.get(other.name) ?? 0)
    return Math.min(nowMs - since, this.network.undisturbedMs(router.seat, other.host))
  }

  /** Planted bug: some requests never give their slot back. */
  losesRelease(): boolean {
    const every = this.mutant?.losesReleaseEvery
    if (every === undefined) return false
    this.#requestsEnded += 1
    return this.#requestsEnded % every === 0
  }
}

function withTerm(response: AttachResponse): AttachResponse {
  const term = 1_000_000
  const { message } = response
  if (message?.$case === 'welcome') return { message: { $case: 'welcome', value: { ...message.value, term } } }
  if (message?.$case === 'assignment') return { message: { $case: 'assignment', value: { ...message.value, term } } }
  return response
}

function define(name: string, changes: Parameters<typeof createExampleDefinition>[2]): ServiceDefinition {
  return createExampleDefinition(name, 'serve', {
    'idle-timeout-mins': 1,
    'scale-up-factor': 0.9,
    'scale-down-factor': 0.9,
    ...changes,
  })
}
