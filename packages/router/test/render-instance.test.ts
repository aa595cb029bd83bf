import type { InstanceRecord } from '@waiter/schedulers'
import t from 'tap'
import { renderInstance } from '../src/api/render-app.ts'

const record: InstanceRecord = {
  serviceId: 's',
  instanceId: 's.a',
  state: 'healthy',
  host: '127.0.0.1',
  port: 10_001,
  extraPorts: [],
  startedAtMs: 1_000.25,
  healthyAtMs: 1_012.75,
  endedAtMs: null,
  flags: [],
  exitCode: null,
  healthCheckStatus: 200,
  message: null,
  stderrTail: '',
  logDirectory: null,
  extra: { 'spawned-at-ms': 1_001.5 },
}

const VIEW = { isManager: true, baseUrl: 'http://localhost' }

t.test('an instance shows when it was spawned and when it was first healthy, to the fraction', async t => {
  t.match(renderInstance(record, VIEW), { 'spawned-at-ms': 1_001.5, 'healthy-at-ms': 1_012.75 })
})

t.test('an instance that never passed a health check shows null', async t => {
  t.equal(renderInstance({ ...record, state: 'starting', healthyAtMs: null }, VIEW)['healthy-at-ms'], null)
})

t.test('only who manages the service sees where its files are, and what it wrote', async t => {
  const failed = { ...record, state: 'failed' as const, stderrTail: 'secret trouble' }
  const stranger = renderInstance(failed, { ...VIEW, isManager: false })
  t.notOk('log-url' in stranger)
  t.notMatch(JSON.stringify(stranger), 'secret trouble')
  t.match(renderInstance(failed, VIEW), {
    'log-url': 'http://localhost/apps/s/logs?instance-id=s.a&host=127.0.0.1',
    stderr: 'secret trouble',
  })
})
