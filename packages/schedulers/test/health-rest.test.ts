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
    t.equal(await check(), 10_000, 'in use')
    isAtRest = true
    t.equal(await check(), 60_000, 'at rest')
    status = 503
    t.equal(await check(), 10_000, 'a doubt')
    status = 200
    t.equal(await check(), 60_000, 'dispelled')
    isAtRest = false
    monitor.wake()
    t.same(
      scheduled.map(({ delayMs }) => delayMs),
      [10_000],
      'used again: the far check is moved',
    )
    monitor.wake()
    t.equal(scheduled.length, 1, 'but not put off by every request')
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
