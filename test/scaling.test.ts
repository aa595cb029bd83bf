import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually, startWaiter, type TestResponse } from '@waiter/testkit'
import t from 'tap'
import { postToken, serviceIdOf, witnessService } from './support/services.ts'
import { readWitnessReport } from './support/witness-report.ts'

const REQUESTS = 50
const INSTANCES_MIN = 2
const INSTANCES_MAX = 6

t.test(
  'parallel slow requests scale a service up; the end of the load scales it down, idle instances only',
  async t => {
    const scratch = mkdtempSync(join(tmpdir(), 'waiter-scaling-'))
    t.teardown(() => rmSync(scratch, { recursive: true, force: true }))
    const reportFile = join(scratch, 'report')
    const waiter = await startWaiter()
    t.teardown(() => waiter.stop())
    const description = witnessService('slow', reportFile, {
      'concurrency-level': 1,
      'scale-up-factor': 0.9,
      'scale-down-factor': 0.9,
      'jitter-threshold': 0.1,
      'min-instances': INSTANCES_MIN,
      'max-instances': INSTANCES_MAX,
      'termination-grace-period-secs': 5,
    })
    await postToken(waiter, 'slow', description)
    const headers = { 'x-waiter-token': 'slow' }
    const serviceId = await serviceIdOf(waiter, headers)
    const send = (delayMs: number): Promise<TestResponse> =>
      waiter.request({ headers: { ...headers, 'x-delay-ms': String(delayMs) } })

    const answers = await Promise.all(Array.from({ length: REQUESTS }, () => send(500)))
    t.same(new Set(answers.map(({ status }) => status)), new Set([200]), 'all are served')
    const servers = new Set(answers.map(({ text }) => text))
    t.ok(servers.size > INSTANCES_MIN, `more instances than the minimum took part: ${servers.size}`)
    const started = readWitnessReport(reportFile).started.length
    t.ok(started <= INSTANCES_MAX, `never more than max-instances: ${started}`)

    // A steady trickle goes on while instances go: whoever signals a busy one fails a request or is told on.
    let isTrickling = true
    const trickle = (async () => {
      const statuses: number[] = []
      while (isTrickling) statuses.push((await send(10)).status)
      return statuses
    })()
    const app = await eventually(
      async () => {
        const seen = await waiter.api(`/apps/${serviceId}`)
        const report = readWitnessReport(reportFile)
        const isDown = seen['num-active-instances'] === INSTANCES_MIN
        return isDown && report.started.length - report.stopped.length === INSTANCES_MIN ? seen : undefined
      },
      'the service to shrink to min-instances',
      { timeoutMs: 40_000, everyMs: 50 },
    )
    isTrickling = false
    const statuses = await trickle
    t.ok(statuses.length > 0, `requests went on meanwhile: ${statuses.length}`)
    t.same(new Set(statuses), new Set([200]), 'none of them failed')

    const report = readWitnessReport(reportFile)
    t.same(
      report.stopped.filter(({ serving }) => serving > 0),
      [],
      'every victim was idle when it was asked to stop',
    )
    t.equal(report.servedMost, 1, 'concurrency-level held all the time')
    t.equal(waiter.instanceProcesses().length, INSTANCES_MIN, 'and that is what runs')
    t.match(app.scaling, { reason: String, target: Number }, 'the last decision is shown with its reason')
    t.match(app.instances['killed-instances'], [{ message: String }], 'victims are listed')
  },
)
