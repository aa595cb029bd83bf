import { LATENCY_BUCKETS, latencyBucket, type TokenRecord, tokenEtag } from '@waiter/services'
import t, { type Test } from 'tap'
import type { SuccessionRequest } from '../src/agent/leader-link.ts'
import { LeaderWorld, service } from './support/leader-world.ts'
import { ModelRouter } from './support/model-router.ts'

const SECOND = 1_000
const MINUTE = 60_000

/** A token with two versions, and a service of each; the old one carries load. */
async function world(t: Test, options: { readonly load?: number; readonly isHealthy?: boolean } = {}) {
  const w = new LeaderWorld()
  await w.start()
  t.teardown(() => w.stop())
  const base = { cluster: 'w', root: 'w', owner: 'alice', 'last-update-user': 'alice', cmd: 'serve' }
  const old: TokenRecord = { ...base, version: '1', 'last-update-time': w.clock.nowMs() }
  const oldService = service('old', { 'scale-up-factor': 0.9 })
  const newService = service('new')
  await w.store.compareAndSet('tokens/app', 0, JSON.stringify(old))
  const router = w.router('a')
  const source = (record: TokenRecord) => [{ token: 'app', version: tokenEtag(record) }]
  router.sourceTokens = source(old)
  for (let count = 0; count < (options.load ?? 0); count++) router.request(oldService)
  w.leader.need(oldService, source(old))
  await w.pass(30 * SECOND)
  const latest: TokenRecord = { ...base, version: '2', 'last-update-time': w.clock.nowMs(), previous: old }
  const stored = await w.store.get('tokens/app')
  await w.store.compareAndSet('tokens/app', stored?.version ?? 0, JSON.stringify(latest))
  w.scheduler.isHealthyAtOnce = options.isHealthy ?? true
  const request: SuccessionRequest = {
    definition: newService,
    sourceTokens: source(latest),
    predecessorId: oldService.id,
    share: 1,
    withdrawIfBad: true,
    token: 'app',
    version: tokenEtag(latest),
  }
  const state = () => w.view(newService.id)?.summary.successions[0]
  /** What the router says came of its requests to a service. */
  const report = (id: string, finished: number, failed = 0, latencyMs = 20) => {
    const latencyCounts = new Array<number>(LATENCY_BUCKETS).fill(0)
    latencyCounts[latencyBucket(latencyMs)] = finished
    const row = { serviceId: id, outstanding: 0, waiting: 0, total: finished, lastRequestMs: w.clock.nowMs() }
    w.leader.report(router.session ?? fail(), [{ ...row, instances: [], finished, failed, latencyCounts }])
  }
  const withdrawals = async () => JSON.parse((await w.store.get('withdrawals/app'))?.value ?? '{}').withdrawals
  return { w, router, oldService, newService, request, latest, state, report, withdrawals }
}

function makeHealthy(w: LeaderWorld, id: string, count: number): void {
  const starting = w.scheduler.running(id).filter(record => record.state === 'starting')
  for (const { instanceId } of starting.slice(0, count)) w.scheduler.setState(instanceId, 'healthy')
}

/** An instance ends by itself; another is started in its place. */
function crash(w: LeaderWorld, id: string): void {
  w.scheduler.setState(w.scheduler.running(id)[0]?.instanceId ?? '', 'failed')
}

function finishAll(router: ModelRouter, id: string): void {
  for (const [instanceId, count] of [...(router.services.get(id)?.inUse ?? [])])
    for (let left = count; left > 0; left--) router.finish(id, instanceId)
}

function fail(): never {
  throw new Error('there must be a session')
}

t.test('a new version is started at the size of the load of the old one, and takes over when it is there', async t => {
  const { w, router, newService, request, state } = await world(t, { load: 7, isHealthy: false })
  w.leader.succeed(request)
  w.leader.succeed(request)
  await w.quiesce()
  t.match(w.scheduler.calls.at(-1), { name: 'create', serviceId: newService.id, count: 7 })
  t.equal(w.scheduler.count('create'), 2, 'once for each service')
  t.match(state(), { kind: 'pending', wanted: 7, reason: '0 of 7 instances are healthy; 7 are needed.' })
  w.scheduler.isHealthyAtOnce = true
  makeHealthy(w, newService.id, 6)
  await w.pass(SECOND)
  t.match(state(), { kind: 'pending', reason: /^6 of 7/ })
  makeHealthy(w, newService.id, 1)
  await w.pass(SECOND)
  t.match(state(), { kind: 'ready' })
  t.ok(router.services.get(newService.id), 'the router was told')
})

t.test('a version that does not become large enough takes over after a minute', async t => {
  const { w, newService, request, state } = await world(t, { load: 7, isHealthy: false })
  w.leader.succeed(request)
  await w.quiesce()
  makeHealthy(w, newService.id, 2)
  await w.pass(59 * SECOND)
  t.match(state(), { kind: 'pending' })
  await w.pass(2 * SECOND)
  t.match(state(), { kind: 'ready' })
})

t.test('a version that runs already, but is too small, grows first', async t => {
  const { w, newService, request, state } = await world(t, { load: 5 })
  w.leader.need(newService, request.sourceTokens)
  await w.pass(SECOND)
  t.equal(w.view(newService.id)?.summary.healthy, 1)
  w.scheduler.isHealthyAtOnce = false
  w.leader.succeed(request)
  await w.pass(SECOND)
  t.match(state(), { kind: 'pending', wanted: 5 })
  t.equal(w.view(newService.id)?.summary.requested, 5)
})

t.test('a version that fails more often is withdrawn, its users go back, and the store remembers', async t => {
  const { w, oldService, newService, request, state, report, withdrawals } = await world(t, { load: 2 })
  report(oldService.id, 1_000)
  w.leader.succeed(request)
  await w.pass(SECOND)
  t.match(state(), { kind: 'ready' })
  report(newService.id, 49, 49)
  await w.pass(SECOND)
  t.match(state(), { kind: 'ready' }, 'not before there are samples')
  report(newService.id, 60, 50)
  await w.quiesce()
  t.match(state(), { kind: 'withdrawn', reason: /83.3 % of 60 requests failed/ })
  await w.pass(SECOND)
  t.match(await withdrawals(), [
    {
      token: 'app',
      version: request.version,
      serviceId: newService.id,
      predecessorId: oldService.id,
      code: 'error-rate',
    },
  ])
  await w.pass(5 * SECOND)
  t.equal(w.view(newService.id)?.summary.isStale, true)
  t.equal(w.view(oldService.id)?.summary.isStale, false)
})

t.test('a version that is much slower is withdrawn; one whose token opted out is not', async t => {
  for (const withdrawIfBad of [true, false]) {
    const { w, oldService, newService, request, state, report } = await world(t, { load: 1 })
    report(oldService.id, 1_000)
    w.leader.succeed({ ...request, withdrawIfBad })
    await w.pass(SECOND)
    report(newService.id, 100, 0, 900)
    await w.pass(SECOND)
    t.equal(state()?.kind, withdrawIfBad ? 'withdrawn' : 'ready')
  }
})

t.test('a version whose requests do not end is withdrawn', async t => {
  const { w, router, oldService, newService, request, state, report } = await world(t, { load: 1 })
  report(oldService.id, 1_000)
  w.leader.succeed(request)
  await w.pass(SECOND)
  for (let count = 0; count < 60; count++) {
    const row = {
      serviceId: newService.id,
      outstanding: count,
      waiting: 0,
      total: count,
      lastRequestMs: w.clock.nowMs(),
    }
    w.leader.report(router.session ?? fail(), [{ ...row, instances: [], finished: 0, failed: 0, latencyCounts: [] }])
  }
  await w.pass(2 * SECOND)
  t.match(state(), { kind: 'ready' })
  await w.pass(2 * SECOND)
  t.match(state(), { kind: 'withdrawn', reason: /of 59 requests have not ended after/ })
})

t.test('a version that crashes is withdrawn before it serves, and kept at one instance for whoever looks', async t => {
  const { w, newService, request, latest, state, withdrawals } = await world(t, { load: 4, isHealthy: false })
  w.leader.succeed(request)
  await w.quiesce()
  crash(w, newService.id)
  crash(w, newService.id)
  await w.quiesce()
  t.match(state(), { kind: 'withdrawn', reason: /No instance is healthy, 2 failed/ })
  t.match(await withdrawals(), [{ code: 'crash-loop' }])
  await w.pass(20 * SECOND)
  t.equal(w.view(newService.id)?.summary.requested, 1)
  w.leader.succeed(request)
  await w.pass(SECOND)
  t.match(state(), { kind: 'withdrawn' }, 'asking again changes nothing')
  const again: TokenRecord = { ...latest, 'last-update-time': w.clock.nowMs(), previous: latest }
  const stored = await w.store.get('tokens/app')
  await w.store.compareAndSet('tokens/app', stored?.version ?? 0, JSON.stringify(again))
  const version = tokenEtag(again)
  w.leader.succeed({ ...request, version, sourceTokens: [{ token: 'app', version }] })
  await w.pass(SECOND)
  t.match(state(), { kind: 'pending' }, 'but a newer version of the token is a new try')
  t.equal((await withdrawals()).length, 1, 'what was withdrawn is remembered as long as the version is')
  const present = await w.store.get('tokens/app')
  await w.store.compareAndSet('tokens/app', present?.version ?? 0, undefined)
  await w.pass(SECOND)
  t.equal(await withdrawals(), undefined, 'and goes with the token')
})

t.test(
  'the old version keeps its size for a minute, then is scaled as one instance at least, then collected',
  async t => {
    const { w, router, oldService, request } = await world(t, { load: 4 })
    const eager = { ...request }
    w.leader.succeed(eager)
    await w.pass(SECOND)
    finishAll(router, oldService.id)
    await w.pass(50 * SECOND)
    t.equal(w.view(oldService.id)?.summary.requested, 4)
    t.equal(w.view(oldService.id)?.summary.isStale, true)
    // Fallback period 300 s and stale time-out 15 min after the new version was written.
    await w.pass(18 * MINUTE, 10 * SECOND)
    t.ok(w.view(oldService.id))
    await w.pass(3 * MINUTE, 10 * SECOND)
    t.equal(w.view(oldService.id), undefined)
  },
)

t.test('a service that is asked for although it was superseded has its successor started', async t => {
  const { w, oldService, latest } = await world(t, { load: 0 })
  const complete = { ...latest, cpus: 1, mem: 64, 'run-as-user': 'alice' }
  const stored = await w.store.get('tokens/app')
  await w.store.compareAndSet('tokens/app', stored?.version ?? 0, JSON.stringify(complete))
  await w.pass(5 * SECOND)
  t.equal(w.scheduler.count('create'), 1)
  const router = w.routers[0]
  router?.request(oldService)
  await w.pass(5 * SECOND)
  t.equal(w.scheduler.count('create'), 2)
  t.match(
    w.scheduler.calls.findLast(call => call.name === 'create'),
    { serviceId: /^waiter-service-/ },
  )
})

t.test('a new leader knows from the store what was withdrawn', async t => {
  const { w, oldService, newService, request } = await world(t, { load: 4, isHealthy: false })
  w.leader.succeed(request)
  await w.quiesce()
  crash(w, newService.id)
  crash(w, newService.id)
  await w.pass(5 * SECOND)
  w.leader.stop()
  await w.start()
  const again = new ModelRouter('a', w.leader, w.clock.nowMs)
  again.attach()
  w.routers.splice(0, 1, again)
  await w.pass(10 * SECOND)
  t.equal(w.view(newService.id)?.summary.isStale, true)
  t.equal(w.view(oldService.id)?.summary.isStale, false)
})
