import { startWaiter } from '@waiter/testkit'
import t from 'tap'
import { runScenario } from '../benchmarks/versions/scenario.ts'

t.test(
  'versions come and go under load: the good one takes over, bad ones are taken back, nobody is failed',
  async t => {
    const waiter = await startWaiter()
    t.teardown(() => waiter.stop())
    const { versions, load } = await runScenario({
      waiter,
      perSecond: 60,
      phaseMs: 30_000,
      isHasty: true,
      modes: ['good', 'good', 'crash', 'errors', 'slow'],
    })
    const { figures } = load
    t.equal(figures.failedByWaiter, 0, figures.failures.join('\n'))
    const [good, crash, errors, slow] = versions
    t.match(good, { withdrawnAfterMs: null, servedAfterMs: Number })
    t.match(crash, { code: 'crash-loop', servedAfterMs: null })
    t.match(errors, { code: 'error-rate', servedAfterMs: Number })
    t.match(slow, { code: 'latency', servedAfterMs: Number })
    for (const { mode, withdrawnAfterMs } of [crash!, errors!, slow!])
      t.ok(withdrawnAfterMs !== null, `${mode} was withdrawn after ${withdrawnAfterMs} ms`)

    await t.test('and everybody can see it', async t => {
      const app = await waiter.api(`/apps/${slow!.serviceId}`)
      t.match(app.withdrawn, [{ code: 'latency', reason: /Half of \d+ requests/, 'replaced-by': good!.serviceId }])
      t.match(app['takes-over-from'], [{ state: 'withdrawn', 'service-id': good!.serviceId }])
      const [listed] = await waiter.api(`/apps?service-id=${errors!.serviceId}`)
      t.match(listed.withdrawn, [{ code: 'error-rate' }])
      t.match(await waiter.api('/state/versions'), { state: { withdrawals: { versions: { withdrawals: Array } } } })
      t.match(waiter.log(), /withdrew a bad version/)
      const answer = await waiter.request({ path: '/service-id', headers: { 'x-waiter-token': 'versions' } })
      t.equal(answer.text, good!.serviceId)
    })
  },
)
