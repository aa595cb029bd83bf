import type { RouterId, ServiceId, Term } from '@waiter/base'
import { ControlDirectory, RouterAgent, type RpcClients, SlotExchange } from '@waiter/control'
import type { ServiceDefinition } from '@waiter/services'
import { DEFAULT_EJECTION, type QueueFailure, type Slot, Waiter } from '@waiter/slots'
import type { WatchLeaderResponse } from '../../../control/src/generated/waiter/v1/cluster.ts'
import { AttachRequest, AttachResponse } from '../../../control/src/generated/waiter/v1/coordinator.ts'
import { BorrowRequest, BorrowResponse } from '../../../control/src/generated/waiter/v1/router.ts'
import type { ServiceRuntime } from '../../../router/src/services/service-runtime.ts'
import { ServiceTable } from '../../../router/src/services/service-table.ts'
import { ReferenceRecorder } from '../../../router/src/versions/reference-recorder.ts'
import type { Codec, SimStream } from './sim-network.ts'
import type { RunningRequest, SimInstance } from './sim-scheduler.ts'
import { SimProcess } from './sim-time.ts'
import type { World } from './world.ts'

/** Nobody gives up waiting: whatever is accepted must be served. */
const QUEUE_TIMEOUT_MS = 3_600_000

interface Bytes<T> {
  encode(message: T): { finish(): Uint8Array }
  decode(bytes: Uint8Array): T
}

const through =
  <T>(codec: Bytes<T>) =>
  (message: unknown): T =>
    codec.decode(codec.encode(message as T).finish())
const asIs = (message: unknown): unknown => message
const ATTACH: Codec = { request: through(AttachRequest), response: through(AttachResponse) }
const BORROW: Codec = { request: through(BorrowRequest), response: through(BorrowResponse) }
const WATCH: Codec = { request: asIs, response: asIs }

/** A router without HTTP: everything between its clients' requests and the rest of the cluster is the real thing. */
export class SimRouter {
  readonly id: RouterId
  readonly seat: string
  readonly process: SimProcess
  readonly table: ServiceTable
  readonly exchange: SlotExchange
  readonly agent: RouterAgent
  readonly directory: ControlDirectory
  readonly #world: World
  readonly requests = new Set<SimRequest>()
  /** Given up although it lives: it may use what others have, until that leader or a later one tells it what it has. */
  isGivenUp = false
  givenUpIn: Term = 0
  /** The present line to a leader. */
  stream: SimStream | undefined

  constructor(world: World, seat: string, id: RouterId) {
    this.#world = world
    this.seat = seat
    this.id = id
    this.process = new SimProcess(world.time, id, seat)
    const { process } = this
    const { clock } = process
    const { log } = world
    this.table = new ServiceTable({
      ejection: DEFAULT_EJECTION,
      random: world.random,
      time: { nowMs: clock.elapsedMs, epochMs: clock.nowMs, schedule: clock.schedule },
      onInstanceRetired: () => undefined,
      references: new ReferenceRecorder(),
      successions: () => [],
    })
    const clients = createSimClients(world, this)
    this.exchange = new SlotExchange({
      routerId: id,
      clients,
      find: serviceId => this.table.get(serviceId),
      clock,
      log,
    })
    this.table.share(this.exchange)
    const { exchange } = this
    world.network.listen(id, {
      process,
      serve: (_kind, call, stream) => {
        const { lenderSays } = world.mutant ?? {}
        if (lenderSays !== undefined)
          stream.tamperDown = message => lenderSays(message as BorrowResponse, forged => stream.forgeUp(forged))
        exchange.handlers.borrow(call as never)
      },
    })
    const controls = [1, 2, 3].map(member => ({ nodeId: `c${member}`, address: `c${member}` }))
    this.directory = new ControlDirectory({ controls, clients, clock, log })
    this.agent = new RouterAgent({
      locator: this.directory,
      clients,
      routerId: id,
      nodeId: seat,
      worker: 1,
      httpUrl: `http://${id}`,
      peerAddress: id,
      host: world.checks.watchHost(this),
      clock,
      log,
    })
    this.table.connect(this.agent)
  }

  get isAlive(): boolean {
    return this.process.isAlive
  }

  request(definition: ServiceDefinition, tookMs: number): void {
    this.process.run(() => {
      const request = new SimRequest(this.#world, this, this.table.open(definition), tookMs)
      this.requests.add(request)
      request.start()
    })
  }

  crash(): void {
    this.process.end()
    for (const request of this.requests) request.vanish()
    this.requests.clear()
    this.#world.network.ended(this.process)
  }

  outstanding(id: ServiceId): number {
    return this.table.get(id)?.counts.outstanding ?? 0
  }
}

/** The way of a request through its router, as `ProxiedRequest` goes it. */
export class SimRequest extends Waiter implements RunningRequest {
  readonly router: SimRouter
  readonly runtime: ServiceRuntime
  readonly #world: World
  readonly #tookMs: number
  readonly arrivedAtMs: number
  instance: SimInstance | undefined
  /** Its router had been given up while it ran: it counts for nobody. */
  isExempt = false
  #slot: Slot | undefined
  #isAnswered = false

  constructor(world: World, router: SimRouter, runtime: ServiceRuntime, tookMs: number) {
    super()
    this.#world = world
    this.router = router
    this.runtime = runtime
    this.#tookMs = tookMs
    this.arrivedAtMs = world.time.nowMs
  }

  start(): void {
    const { runtime } = this
    this.#world.checks.accepted(this)
    runtime.accept()
    const slot = runtime.machine.reserve(this.arrivedAtMs)
    if (slot !== undefined) {
      this.granted(slot)
      return
    }
    const refusal = runtime.machine.enqueue(this, this.arrivedAtMs + QUEUE_TIMEOUT_MS, 0, this.arrivedAtMs)
    if (refusal !== undefined) {
      this.failed(refusal)
      return
    }
    if (!this.isWaiting) return
    runtime.armTimer()
    if (runtime.leases.size === 0) this.router.table.need(runtime, [])
  }

  granted(slot: Slot): void {
    const { checks, scheduler, time } = this.#world
    if (this.#slot !== undefined || this.#isAnswered) checks.fail('answered once', 'a request got a second slot')
    this.#slot = slot
    this.isExempt = this.router.isGivenUp
    time.note(() => [this.router.id, slot.instanceId, this.arrivedAtMs])
    const instance = scheduler.find(this.runtime.id, slot.instanceId)
    if (instance === undefined || instance.record.endedAtMs !== null) {
      // Nobody listens there any more.
      time.after(this.#world.network.latencyMs(), () => this.router.process.run(() => this.#end('connect-failed')))
      return
    }
    this.instance = instance
    instance.runs.add(this)
    checks.began(this, instance)
    time.after(this.#tookMs, () => this.#workIsDone())
  }

  failed(_failure: QueueFailure): void {
    this.#answer()
    this.runtime.finish()
  }

  broke(): void {
    if (this.instance === undefined) return
    this.#leaveInstance()
    this.#world.time.after(1, () => this.router.process.run(() => this.#end('instance-error')))
  }

  /** Its router has ended. */
  vanish(): void {
    this.#leaveInstance()
    this.#world.checks.vanished(this)
  }

  #workIsDone(): void {
    if (this.instance === undefined) return
    this.#leaveInstance()
    this.router.process.run(() => this.#end('success'))
  }

  #leaveInstance(): void {
    this.instance?.runs.delete(this)
    this.instance = undefined
  }

  #end(status: 'success' | 'instance-error' | 'connect-failed'): void {
    const slot = this.#slot
    if (slot === undefined) return
    this.#answer()
    this.runtime.finish()
    if (!this.#world.losesRelease()) this.runtime.release(slot, status)
  }

  #answer(): void {
    if (this.#isAnswered) this.#world.checks.fail('answered once', 'a request was answered twice')
    this.#isAnswered = true
    this.router.requests.delete(this)
    this.#world.checks.answered(this)
  }
}

function createSimClients(world: World, router: SimRouter): RpcClients {
  const { network, mutant } = world
  const { process } = router
  const close = (): void => undefined
  const unused = (): never => {
    throw new Error('nobody calls this in the simulation')
  }
  const clients = {
    coordinator: (address: string) => ({
      close,
      attach: () => {
        const stream = network.connect(process, address, 'attach', ATTACH)
        router.stream = stream
        const { routerSays } = mutant ?? {}
        let said = 0
        if (routerSays !== undefined) stream.tamperUp = message => routerSays(message as AttachRequest, said++)
        return stream.clientEnd
      },
    }),
    router: (address: string) => ({
      close,
      borrow: () => {
        const stream = network.connect(process, address, 'borrow', BORROW)
        const { borrowerSays } = mutant ?? {}
        if (borrowerSays !== undefined) stream.tamperUp = message => borrowerSays(message as BorrowRequest)
        return stream.clientEnd
      },
    }),
    cluster: (address: string) => ({
      close,
      watchLeader: () => {
        const stream = network.connect(process, address, 'watchLeader', WATCH)
        const ONE_TERM = 1_000_000
        if (mutant?.believesAnyTerm === true)
          stream.tamperDown = news => [{ ...(news as WatchLeaderResponse), term: ONE_TERM }]
        return stream.clientEnd
      },
    }),
    keyValue: unused,
  }
  return clients as unknown as RpcClients
}
