import { type ServiceId, silentLogger } from '@waiter/base'
import { Leader, type LeaderSettings } from '@waiter/control'
import { DEFAULT_SCALE_LIMITS, DEFAULT_TAKEOVER, type ScalingPolicy, waiterPolicy } from '@waiter/scaling'
import { createExampleDefinition } from '@waiter/schedulers/contract'
import { createServicesConfig, DEFAULT_JUDGE, type ServiceDefinition, type ServiceDescription } from '@waiter/services'
import { createMemoryStore } from '@waiter/store'
import { FakeClock } from './fake-clock.ts'
import { FakeScheduler } from './fake-scheduler.ts'
import { ModelRouter, TOKEN, TOKEN_RECORD } from './model-router.ts'

export const SETTINGS: LeaderSettings = {
  decisionFloorMs: 100,
  decisionIntervalMs: 1_000,
  routerDeadAfterMs: 10_000,
  drainTimeoutMs: 1e12,
  settleMs: 5_000,
  killGraceMsMin: 3_000,
  suspectAfterFailures: 5,
  deploymentError: { minFailedInstances: 2, minHosts: 1 },
  brokenService: { timeoutMins: 30, minHosts: 1 },
  limits: DEFAULT_SCALE_LIMITS,
  succession: { takeover: DEFAULT_TAKEOVER, judge: DEFAULT_JUDGE, probationMs: 600_000, holdMs: 60_000 },
}

/** A leader with everything around it under the test's control. */
export class LeaderWorld {
  readonly clock = new FakeClock()
  readonly scheduler = new FakeScheduler(this.clock.nowMs)
  readonly store = createMemoryStore()
  readonly routers: ModelRouter[] = []
  leader!: Leader
  #running: Promise<void> = Promise.resolve()
  #term = 0

  /** A leader begins; a former one is not told. */
  async start(settings: Partial<LeaderSettings> = {}): Promise<void> {
    this.leader = new Leader({
      leaderId: 'node-1',
      term: ++this.#term,
      scheduler: this.scheduler,
      store: this.store,
      services: createServicesConfig(),
      policy: waiterPolicy as ScalingPolicy,
      settings: { ...SETTINGS, ...settings },
      clock: this.clock,
      log: silentLogger,
    })
    this.#running = this.leader.run()
    await this.store.compareAndSet(`tokens/${TOKEN}`, 0, JSON.stringify(TOKEN_RECORD))
    await this.clock.settle()
    await this.leader.listed
  }

  async stop(): Promise<void> {
    this.leader.stop()
    this.scheduler.end()
    await this.clock.advance(2_000)
    await this.#running
  }

  router(id: string): ModelRouter {
    const router = new ModelRouter(id, this.leader, this.clock.nowMs)
    router.attach()
    this.routers.push(router)
    return router
  }

  /** All messages arrive, all promises settle, until nothing happens any more. Time stands still. */
  async quiesce(): Promise<void> {
    const ROUNDS_MAX = 1_000
    for (let round = 0; round < ROUNDS_MAX; round++) {
      await this.clock.settle()
      let isBusy = false
      for (const router of this.routers) if (router.session !== undefined && router.exchangeAll()) isBusy = true
      if (!isBusy) return
    }
    throw new Error('messages never end')
  }

  /** Time passes in small steps, and messages arrive at once. */
  async pass(ms: number, stepMs: number = Math.max(100, ms / 50)): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      await this.clock.advance(Math.min(stepMs, left))
      await this.quiesce()
    }
  }

  view(id: ServiceId): ReturnType<Leader['view']>['services'][number] | undefined {
    return this.leader.view(id).services[0]
  }
}

export function service(name: string, changes: ServiceDescription = {}): ServiceDefinition {
  return createExampleDefinition(`waiter-service-${name}`, 'serve', changes)
}
