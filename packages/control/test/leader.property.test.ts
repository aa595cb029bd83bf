import { createPrng, type InstanceId, type Prng, type ServiceId } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import t, { type Test } from 'tap'
import type { SchedulerCall } from './support/fake-scheduler.ts'
import { LeaderWorld, service } from './support/leader-world.ts'
import type { ModelRouter } from './support/model-router.ts'

const SEEDS = 250
/** Runs with so many routers that not all of them follow each service (rules H1 and L11 to L13). */
const CROWD_SEEDS = 80
const CROWD = 10
const STEPS = 120
const REQUESTS_MAX = 40

/** One random run: everything that can happen, in any order, with every promise of the leader checked on the way. */
class Run {
  readonly world = new LeaderWorld()
  readonly prng: Prng
  readonly definitions: readonly ServiceDefinition[]
  readonly #isCrowd: boolean
  readonly violations: string[] = []
  requests = 0
  lost = 0
  routersMade = 0
  stops = 0

  constructor(seed: number, isCrowd = false) {
    this.prng = createPrng(seed)
    this.#isCrowd = isCrowd
    const factors = { 'scale-up-factor': 0.9, 'scale-down-factor': 0.9 }
    // In a crowd, routers lose interest before the service is collected.
    const idleMins = (mins: number): number => (isCrowd ? mins + 7 : mins)
    this.definitions = [
      service('narrow', { 'idle-timeout-mins': idleMins(1), ...factors, 'max-instances': 4 }),
      service('wide', { 'concurrency-level': 3, 'idle-timeout-mins': idleMins(2), ...factors, 'max-instances': 3 }),
    ]
    this.world.scheduler.onStop = call => this.#checkStop(call)
  }

  async start(): Promise<void> {
    await this.world.start({ settleMs: 0 })
    const routers = this.#isCrowd ? CROWD + this.prng.below(3) : 2 + this.prng.below(2)
    for (let count = 0; count < routers; count++) this.#addRouter()
  }

  #addRouter(): void {
    this.world.router(`router-${++this.routersMade}`)
  }

  get living(): ModelRouter[] {
    return this.world.routers.filter(router => router.isAlive)
  }

  /** Nothing may be stopped that a request runs on, or that a router may still send to, now or by what is under way. */
  #checkStop(call: SchedulerCall): void {
    this.stops += 1
    const instances =
      call.instanceId === undefined
        ? this.world.scheduler.running(call.serviceId).map(({ instanceId }) => instanceId)
        : [call.instanceId]
    for (const instanceId of instances)
      for (const router of this.living) {
        const where = `${call.name} of ${instanceId}: ${router.id}`
        if (router.inUse(call.serviceId, instanceId) > 0) this.violations.push(`${where} has requests there`)
        if (router.slots(call.serviceId, instanceId) > 0) this.violations.push(`${where} may send there`)
        if (isOffered(router, call.serviceId, instanceId)) this.violations.push(`${where} is about to hear of it`)
      }
  }

  checkSlots(): void {
    for (const definition of this.definitions)
      for (const { instanceId } of this.world.scheduler.running(definition.id)) {
        let believed = 0
        for (const router of this.living)
          believed += Math.max(router.slots(definition.id, instanceId), router.inUse(definition.id, instanceId))
        if (believed > definition.effective['concurrency-level'])
          this.violations.push(`${believed} slots of ${instanceId} are believed`)
      }
  }

  async step(): Promise<void> {
    const router = this.#pick(this.living)
    if (router === undefined) return
    const dice = this.prng.below(100)
    if (dice < 22) this.#request(router)
    else if (dice < 40) this.#finish(router)
    else if (dice < 60 && router.inbox.length > 0) router.receive()
    else if (dice < 80) router.send()
    else if (dice < 90) await this.world.clock.advance(this.prng.below(this.#isCrowd && dice === 89 ? 300_000 : 400))
    else this.#mishap(router, dice)
    if (this.prng.below(3) > 0) await this.world.clock.settle()
  }

  #mishap(router: ModelRouter, dice: number): void {
    const { scheduler } = this.world
    if (dice < 92) scheduler.isHealthyAtOnce = !scheduler.isHealthyAtOnce
    else if (dice < 94) {
      const waiting = this.definitions
        .flatMap(({ id }) => scheduler.running(id))
        .filter(({ state }) => state === 'starting')
      const instance = this.#pick(waiting)
      if (instance !== undefined) scheduler.setState(instance.instanceId, 'healthy')
    } else if (dice < 96) {
      if (router.session === undefined) router.tryAttach()
      else router.disconnect()
    } else if (dice < 97 && this.living.length > 1) {
      this.lost += router.waiting
      for (const { inUse } of router.services.values()) for (const count of inUse.values()) this.lost += count
      router.crash()
      this.#addRouter()
    } else if (dice < 98) router.isSlow = !router.isSlow
    else {
      scheduler.isHolding = !scheduler.isHolding
      if (!scheduler.isHolding) while (scheduler.heldCalls > 0) scheduler.letGo(this.prng.below(scheduler.heldCalls))
    }
  }

  #request(router: ModelRouter): void {
    if (this.requests >= REQUESTS_MAX) return
    this.requests += 1
    const definition = this.#pick(this.definitions)
    if (definition !== undefined) router.request(definition)
  }

  #finish(router: ModelRouter): void {
    const running = [...router.services].flatMap(([id, { inUse }]) =>
      [...inUse.keys()].map(instance => ({ id, instance })),
    )
    const chosen = this.#pick(running)
    if (chosen !== undefined) router.finish(chosen.id, chosen.instance)
  }

  /** Nothing new happens and nothing fails: everything that waits must be served, and in the end all is collected. */
  async finishAll(): Promise<void> {
    const { world } = this
    world.scheduler.isHolding = false
    world.scheduler.isHealthyAtOnce = true
    while (world.scheduler.heldCalls > 0) world.scheduler.letGo()
    for (const { id } of this.definitions)
      for (const { instanceId, state } of world.scheduler.running(id))
        if (state === 'starting') world.scheduler.setState(instanceId, 'healthy')
    for (const router of this.living) {
      router.isSlow = false
    }
    const ROUNDS_MAX = 200
    for (let round = 0; round < ROUNDS_MAX && this.served < this.requests - this.lost; round++) {
      for (const router of this.living) if (router.session === undefined) router.tryAttach()
      await world.pass(500, 250)
      for (const router of this.living) {
        // Requests are brief: a router that was full may go on at once.
        for (const [id, { inUse }] of [...router.services])
          for (const instanceId of [...inUse.keys()]) router.finish(id, instanceId)
        await world.quiesce()
        this.checkSlots()
      }
    }
    for (let minutes = 0; minutes < (this.#isCrowd ? 15 : 5); minutes++) await world.pass(60_000, 15_000)
    await world.stop()
  }

  get served(): number {
    return this.living.reduce((sum, router) => sum + router.served, 0) + this.#servedByTheDead()
  }

  #servedByTheDead(): number {
    return this.world.routers.filter(router => !router.isAlive).reduce((sum, router) => sum + router.served, 0)
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.prng.below(items.length)]
  }
}

/** Does the newest word on this service that is under way to the router offer the instance? */
function isOffered(router: ModelRouter, serviceId: ServiceId, instanceId: InstanceId): boolean {
  return router.inbox.some(
    ({ message }) =>
      message?.$case === 'assignment' &&
      message.value.upserts.some(
        upsert => upsert.serviceId === serviceId && upsert.instances.some(lease => lease.instanceId === instanceId),
      ),
  )
}

async function runAll(t: Test, seeds: number, isCrowd: boolean): Promise<void> {
  let stops = 0
  let served = 0
  for (let seed = 1; seed <= seeds; seed++) {
    const run = new Run(seed, isCrowd)
    await run.start()
    for (let step = 0; step < STEPS; step++) {
      await run.step()
      run.checkSlots()
    }
    await run.finishAll()
    stops += run.stops
    served += run.served
    if (run.violations.length > 0) t.fail(`seed ${seed}: ${run.violations[0]} (${run.violations.length} in all)`)
    if (run.served !== run.requests - run.lost)
      t.fail(`seed ${seed}: ${run.served} of ${run.requests - run.lost} requests were served`)
    const left = run.definitions.filter(({ id }) => run.world.scheduler.services.has(id))
    if (left.length > 0) t.fail(`seed ${seed}: ${left.map(({ id }) => id).join()} was never collected`)
  }
  t.ok(served > 20 * seeds, `${served} requests were served`)
  t.ok(stops > 2 * seeds, `${stops} stops were checked`)
}

t.test(`${SEEDS} random runs`, t => runAll(t, SEEDS, false))

t.test(`${CROWD_SEEDS} random runs with many routers`, t => runAll(t, CROWD_SEEDS, true))
