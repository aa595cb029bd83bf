import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { createExampleDefinition } from '../src/contract.ts'
import { HealthMonitor } from '../src/process/health-monitor.ts'
import { createServiceState, isResting } from '../src/process/service-state.ts'

t.test(
  'a healthy instance is checked once a minute at rest; at the usual distance in use, or at the first doubt',
  async t => {
    let status = 200
    const server = createServer((_request, response) => response.writeHead(status).end())
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    const scheduled: { delayMs: number; run: () => void }[] = []
    let reported = Promise.withResolvers<void>()
    let isAtRest = false
    let runningCount = 300
    let chance = 0.5
    let nowMs = 0
    const monitor = new HealthMonitor(
      {
        effective: createExampleDefinition('s', 'true').effective,
        hosts: ['127.0.0.1'],
        port: (server.address() as AddressInfo).port,
        password: '',
        startedAtMs: 0,
        timers: {
          nowMs: () => nowMs,
          setTimer: (delayMs, run) => {
            scheduled.push({ delayMs, run })
            return { cancel: () => void scheduled.splice(0) }
          },
        },
        startingCount: () => 1,
        runningCount: () => runningCount,
        chance: () => chance,
        isResting: () => isAtRest,
        onReport: () => reported.resolve(),
      },
      { state: 'starting', flags: [] },
    )
    t.teardown(() => monitor.stop())
    /** Runs the check that is due. @returns when the next one is */
    const check = async (): Promise<number | undefined> => {
      const due = scheduled.shift()
      nowMs += due?.delayMs ?? 0
      reported = Promise.withResolvers<void>()
      due?.run()
      await reported.promise
      // Reports come before the next check is scheduled, in the same turn.
      await Promise.resolve()
      return scheduled[0]?.delayMs
    }
    monitor.start()
    t.equal(await check(), 7_500, 'the first interval is cut by chance')
    chance = 0.9
    t.equal(await check(), 10_000, 'in use')
    isAtRest = true
    t.equal(await check(), 60_000, 'at rest')
    status = 503
    t.equal(await check(), 10_000, 'a doubt')
    status = 200
    t.equal(await check(), 60_000, 'dispelled')
    runningCount = 1_000
    t.equal(await check(), 200_000, 'one of a thousand')
    runningCount = 5_000
    t.equal(await check(), 300_000, 'but never rarer')
    runningCount = 300
    t.equal(await check(), 60_000)
    isAtRest = false
    nowMs += 4_000
    monitor.wake(0)
    t.same(
      scheduled.map(({ delayMs }) => delayMs),
      [6_000],
      'used again: the far check comes when the interval is over',
    )
    monitor.wake(0)
    t.equal(scheduled.length, 1, 'but is not put off by every request')
    isAtRest = true
    t.equal(await check(), 60_000)
    nowMs += 30_000
    monitor.wake(3)
    t.same(
      scheduled.map(({ delayMs }) => delayMs),
      [6],
      'used again after more than an interval: at once, one instance after the other',
    )
    isAtRest = false
    const underway = check()
    monitor.wake(0)
    t.equal(scheduled.length, 0, 'nothing is begun beside a check under way')
    t.equal(await underway, 10_000)
  },
)

t.test(
  'a service rests half a minute after its last use, unless its description says how often to check it',
  async t => {
    const service = createServiceState(createExampleDefinition('s', 'true'), 1, 1_000)
    t.notOk(isResting(service, 30_999))
    t.ok(isResting(service, 31_000))
    service.usedAtMs = 31_000
    t.notOk(isResting(service, 31_000))
    const chosen = createExampleDefinition('s', 'true', { 'health-check-interval-secs': 5 })
    t.notOk(isResting(createServiceState(chosen, 1, 0), 1e9))
    const { core, ...others } = createExampleDefinition('s', 'true')
    const said = { ...others, core: { ...core, 'health-check-interval-secs': 10 } }
    t.notOk(isResting(createServiceState(said, 1, 0), 1e9), 'also when it says the default')
  },
)
