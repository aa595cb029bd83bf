import type { Outcome } from '@waiter/proxy'
import t from 'tap'
import type { ServiceRuntime } from '../src/services/service-runtime.ts'
import type { FakeExchange } from './support/fake-exchange.ts'
import { completed, ID, notSent, unanswered, world } from './support/request-world.ts'

t.test('with a free slot a request is forwarded before start returns', async t => {
  const w = world(t)
  w.assign({ a: 1 })
  const fake = w.request()
  t.match(fake.targets, [
    {
      host: '127.0.0.1',
      port: 10_000,
      extraRequestHead: 'authorization: Basic x\r\nx-cid: cid-1\r\n',
      extraResponseHead: 'via: 1.1 router-1\r\nx-cid: cid-1\r\n',
      connectTimeoutMs: 5_000,
      responseTimeoutMs: 900_000,
      streamIdleTimeoutMs: 20_000,
    },
  ])
  t.match(w.counts, { total: 1, outstanding: 1 })
  t.same(w.needs, [])
  fake.end(completed(200))
  t.match(w.counts, { total: 1, outstanding: 0, successful: 1 })
  t.equal(w.runtime.machine.slotsInUse, 0)
})

t.test('debug headers, whatever characters a path has', async t => {
  const w = world(t)
  w.assign({ a: 1 })
  const fake = w.request({ isDebug: true })
  const [target] = fake.targets
  t.match(target?.extraResponseHead, 'x-waiter-backend-directory: /data/%E6%97%A5%E6%9C%AC\r\n')
  const names = [...(target?.extraResponseHead ?? '').matchAll(/^(x-waiter-[a-z-]+): \S/gm)].map(([, name]) => name)
  const late = target?.lateResponseHead?.() ?? ''
  t.match(late, /^x-waiter-backend-response-ns: \d+\r\nx-waiter-retries: 0\r\n$/)
  t.same(
    names.sort(),
    [
      ...['auth-method', 'auth-principal', 'auth-user', 'backend-directory', 'backend-host', 'backend-id'],
      ...['backend-log-url', 'backend-port', 'backend-proto', 'client-protocol', 'get-available-instance-ns'],
      ...['internal-protocol', 'queue-timeout-ms', 'request-date', 'request-id', 'router-id', 'service-id'],
      ...['socket-timeout-ms', 'streaming-timeout-ms'],
    ].map(name => `x-waiter-${name}`),
  )
})

t.test('without a slot a request waits; the leader is asked when nothing is assigned', async t => {
  const w = world(t)
  const [first, second] = [w.request(), w.request()]
  t.same(w.needs, [ID], 'once: the second adds nothing that the leader could not know')
  t.equal(first.isForwarding, false)
  w.assign({ a: 1 })
  t.equal(first.isForwarding, true, 'in order of arrival')
  t.equal(second.isForwarding, false)
  first.end(completed(200))
  t.equal(second.isForwarding, true)
  w.request()
  t.same(w.needs, [ID], 'with an instance at hand the leader hears by the load')
})

t.test('the leader is asked again after a while, and at once after slots came and went', async t => {
  const w = world(t)
  w.request()
  w.nowMs += 1_000
  w.request()
  t.equal(w.needs.length, 2)
  w.assign({ a: 1 })
  w.assign({})
  t.equal(w.needs.length, 3, 'what waits is heard when the last instance goes')
})

t.test('a client that leaves while it waits', async t => {
  const w = world(t)
  const [first, second] = [w.request(), w.request()]
  first.leave()
  t.match(w.counts, { outstanding: 1, 'client-error': 1 })
  t.equal(w.errors.length, 0, 'there is nobody to answer')
  w.assign({ a: 1 })
  t.equal(first.targets.length, 0)
  t.equal(second.isForwarding, true)
})

t.test('each ending is counted, answered and released once', async t => {
  type Row = readonly [
    outcome: Outcome,
    count: keyof ServiceRuntime['counts'],
    answer: number | undefined,
    failures: number,
  ]
  const rows: readonly Row[] = [
    [completed(200), 'successful', undefined, 0],
    [completed(404), 'successful', undefined, 0],
    [completed(500), 'successful', undefined, 0],
    [completed(503), 'successful', undefined, 1],
    [completed(101), 'successful', undefined, 0],
    [unanswered(false), 'instance-error', 502, 1],
    [{ ...unanswered(false), reason: 'request-stalled' } as Outcome, 'instance-error', 503, 1],
    [{ kind: 'response-timeout' }, 'instance-error', 504, 1],
    [{ kind: 'failed-mid-response', status: 200, detail: 'reset' }, 'instance-error', undefined, 1],
    [{ kind: 'client-gone', phase: 'response' }, 'client-error', undefined, 0],
    [{ kind: 'client-stalled', phase: 'response' }, 'client-error', undefined, 0],
    [{ kind: 'client-malformed', detail: 'bad chunk' }, 'client-error', undefined, 0],
    [{ kind: 'aborted' }, 'generic-error', undefined, 0],
  ]
  for (const [outcome, count, answer, failures] of rows) {
    const name = outcome.kind === 'completed' ? `completed with ${outcome.status}` : outcome.kind
    const w = world(t)
    w.assign({ a: 1 })
    const fake = w.request()
    fake.end(outcome)
    const expected = {
      total: 1,
      outstanding: 0,
      async: 0,
      successful: 0,
      'client-error': 0,
      'generic-error': 0,
      'instance-error': 0,
    }
    t.same(w.counts, { ...expected, [count]: 1 }, `${name}: counters`)
    t.same(
      fake.answers.map(({ status }) => status),
      answer === undefined ? [] : [answer],
      `${name}: answer`,
    )
    t.equal(w.runtime.machine.slotsInUse, 0, `${name}: the slot is free`)
    t.equal(w.runtime.machine.instanceStates()[0]?.consecutiveFailures, failures, `${name}: failures`)
    fake.leave()
    t.same(w.counts, { ...expected, [count]: 1 }, `${name}: and what comes later changes nothing`)
  }
})

t.test('a request of which nothing was sent goes to another instance', async t => {
  const w = world(t)
  w.assign({ a: 1, b: 1 })
  const fake = w.request()
  fake.end(notSent())
  t.equal(fake.targets.length, 2)
  t.not(fake.targets[0]?.port, fake.targets[1]?.port)
  fake.end(completed(200))
  t.match(w.counts, { total: 1, successful: 1, 'instance-error': 0 })
  t.equal(w.runtime.machine.slotsInUse, 0)
})

t.test('it goes before those that came later', async t => {
  const w = world(t)
  w.assign({ a: 1 })
  const [first, second] = [w.request(), w.request()]
  first.end(notSent('stale'))
  t.equal(first.isForwarding, true)
  t.equal(second.isForwarding, false)
})

t.test('an instance that refuses a request unseen counts as busy, and another gets it', async t => {
  const w = world(t)
  w.assign({ a: 1, b: 1 })
  const fake = w.request()
  fake.end(notSent('unprocessed'))
  t.equal(fake.targets.length, 2)
  t.not(fake.targets[0]?.port, fake.targets[1]?.port)
  const failures = w.runtime.machine.instanceStates().map(state => state.consecutiveFailures)
  t.same(failures.sort(), [0, 1])
})

t.test(
  'a gRPC status of 14, in head or trailers, counts as busy; the backend speaks what its service says',
  async t => {
    for (const [protocol, grpcStatus, from, failures] of [
      ['h2c', '14', 'onResponseHead', 1],
      ['h2', '14', 'onResponseTrailers', 1],
      ['h2c', '13', 'onResponseTrailers', 0],
      ['http', '14', 'onResponseTrailers', 0],
    ] as const) {
      const w = world(t, { 'backend-proto': protocol })
      w.assign({ a: 1 })
      const fake = w.request()
      const target = fake.targets[0]!
      t.equal(target.protocol, protocol)
      const get = (name: string) => (name === 'grpc-status' ? grpcStatus : undefined)
      if (from === 'onResponseHead') target.onResponseHead?.(200, get, 1)
      else target.onResponseTrailers?.(get)
      fake.end(completed(200))
      t.match(w.counts, { successful: 1 })
      t.equal(w.runtime.machine.instanceStates()[0]?.consecutiveFailures, failures, `${protocol} ${grpcStatus} ${from}`)
    }
  },
)

t.test('after ten such attempts the client is told', async t => {
  const w = world(t)
  w.assign({ a: 1 })
  const fake = w.request()
  let attempts = 0
  while (fake.answers.length === 0 && attempts < 50) {
    if (fake.isForwarding) {
      attempts += 1
      fake.end(notSent())
    } else w.pass(2_000)
  }
  t.equal(attempts, 11)
  t.match(fake.answers, [{ status: 502 }])
  t.match(w.errors[0]?.error, {
    message: 'Request failed to connect to service backend',
    details: { code: 'WTR_CONNECT_FAILED', attempts: 11, reason: 'ECONNREFUSED', 'service-id': ID },
  })
  t.match(w.counts, { outstanding: 0, 'instance-error': 1 })
  t.equal(w.runtime.machine.slotsInUse, 0)
})

t.test('an idempotent request that got no answer is tried once more', async t => {
  const w = world(t)
  w.assign({ a: 1, b: 1 })
  const fake = w.request()
  fake.end(unanswered(true))
  t.equal(fake.isForwarding, true)
  t.equal(w.counts['instance-error'], 0)
  fake.end(unanswered(true))
  t.match(fake.answers, [{ status: 502 }])
  t.match(w.counts, { outstanding: 0, 'instance-error': 1 })
  t.equal(w.runtime.machine.slotsInUse, 0)
})

t.test('but not when its time in the queue is over: the failure is the better answer', async t => {
  const w = world(t)
  w.assign({ a: 1 })
  const fake = w.request({ queueTimeoutMs: 1_000 })
  w.nowMs += 1_000
  fake.end(unanswered(true))
  t.match(w.errors[0]?.error, {
    status: 502,
    message: 'Request to service backend failed',
    details: { reason: 'reset' },
  })
})

t.test('a client that leaves between two attempts', async t => {
  const w = world(t)
  w.assign({ a: 1 })
  const fake = w.request()
  fake.end(notSent())
  t.equal(fake.isForwarding, false, 'the instance is left alone for a moment')
  fake.leave()
  w.pass(10_000)
  t.match(w.counts, { outstanding: 0, 'client-error': 1, 'instance-error': 0 })
  t.equal(fake.targets.length, 1)
})

t.test('queue time-out while no instance can be started: the reason is told', async t => {
  const w = world(t)
  w.request({ queueTimeoutMs: 2_000 })
  w.assign({}, { healthy: 0, unhealthy: 0, startTrouble: 'no port is free.' })
  w.pass(2_000)
  t.match(w.errors[0]?.error, {
    message: /no instance available to handle request\. No further instance can be started: no port is free\.$/,
    details: { code: 'WTR_QUEUE_TIMEOUT', 'start-trouble': 'no port is free.' },
  })
})

t.test('queue time-out', async t => {
  const w = world(t)
  const fake = w.request({ queueTimeoutMs: 2_000 })
  w.assign({}, { healthy: 0, unhealthy: 1 })
  w.pass(1_999)
  t.equal(fake.answers.length, 0)
  w.pass(1)
  t.match(fake.answers, [{ status: 503 }])
  t.match(w.errors[0]?.error, {
    errorClass: 'waiter.RequestTimeout',
    message:
      'After 2 seconds, no instance available to handle request. Check that your service is able to start properly!',
  })
  t.same(Object.keys(w.errors[0]?.error.details ?? {}), [
    'code',
    'outstanding-requests',
    'requests-waiting-to-stream',
    'service-id',
    'slots-assigned',
    'slots-available',
    'slots-in-use',
    'waiting-for-available-instance',
    'work-stealing-offers-received',
    'work-stealing-offers-sent',
  ])
  t.match(w.counts, { outstanding: 0, 'generic-error': 1 })
})

t.test('queue time-out of a service that runs, but is too small', async t => {
  const w = world(t)
  w.assign({ a: 1 })
  w.request()
  w.request({ queueTimeoutMs: 60_000 })
  w.pass(60_000)
  t.match(w.errors[0]?.error.message, /^After 60 seconds, .* Check that your service is able to scale properly!$/)
})

t.test('a full queue', async t => {
  const w = world(t, { 'max-queue-length': 2 })
  w.request()
  w.request()
  const third = w.request()
  t.match(third.answers, [{ status: 503 }])
  t.match(w.errors[0]?.error, {
    message: 'Max queue length exceeded',
    errorClass: 'waiter.QueueLength',
    details: { 'current-queue-length': 2, 'max-queue-length': 2, 'outstanding-requests': 3, 'service-id': ID },
  })
  t.match(w.counts, { outstanding: 2, 'generic-error': 1 })
})

t.test('a service that cannot start: who waits and who comes is told why, until it can', async t => {
  const w = world(t)
  const waiting = w.request()
  const problem = { key: 'bad-startup-command', message: 'Invalid startup command', details: { 'exit-code': 127 } }
  w.assign({}, { problem })
  t.match(waiting.answers, [{ status: 503 }])
  t.match(w.errors[0]?.error, {
    message: 'Deployment error: Invalid startup command',
    errorClass: 'waiter.DeploymentError',
    details: { 'deployment-error': 'bad-startup-command', 'exit-code': 127, 'service-id': ID },
  })
  t.match(w.request().answers, [{ status: 503 }])
  w.assign({ a: 1 })
  t.equal(w.request().isForwarding, true)
})

t.test('a service that the leader took away is forgotten when its last request is over, however it ends', async t => {
  await t.test('answered', async t => {
    const w = world(t)
    w.assign({ a: 1 })
    const fake = w.request()
    w.table.applyAssignment({ isFull: false, upserts: [], removals: [ID] })
    t.equal(w.table.size, 1)
    fake.end(completed(200))
    t.equal(w.table.size, 0)
  })
  await t.test('timed out in the queue', async t => {
    const w = world(t)
    const fake = w.request({ queueTimeoutMs: 1_000 })
    w.table.applyAssignment({ isFull: true, upserts: [], removals: [] })
    t.equal(w.table.size, 1)
    w.pass(1_000)
    t.match(fake.answers, [{ status: 503 }])
    t.equal(w.table.size, 0)
  })
})

t.test('what the leader hears of use on instances that were taken away', async t => {
  const w = world(t, { 'concurrency-level': 2 })
  let notes = 0
  w.table.connect({
    noteLoadChange: () => undefined,
    followService: () => undefined,
    needService: () => undefined,
    noteReducedUse: () => {
      notes += 1
    },
  })
  w.assign({ a: 2, b: 1 })
  const [first, second] = [w.request(), w.request()]
  w.assign({ b: 1 })
  t.match(w.table.collectUse([ID]), [{ instances: [{ instanceId: `${ID}.a`, inUse: 2 }] }])
  t.same(w.table.collectBeliefs()[0]?.instances, [
    { instanceId: `${ID}.a`, slots: 0, inUse: 2 },
    { instanceId: `${ID}.b`, slots: 1, inUse: 0 },
  ])
  first.end(completed(200))
  t.equal(notes, 1)
  t.match(w.table.collectReducedUse(), [{ instances: [{ instanceId: `${ID}.a`, inUse: 1 }] }])
  second.end(completed(200))
  t.equal(notes, 2)
  t.same(w.table.collectReducedUse(), [{ serviceId: ID, instances: [] }])
  t.same(w.table.collectReducedUse(), [], 'and then there is nothing more to say')
  t.equal(w.table.collectLoads(false).length, 1)
  t.equal(w.table.collectLoads(false).length, 0, 'only what changed')
  t.equal(w.table.collectLoads(true).length, 1)
})

t.test('a storm: when every instance refuses, retries add a quarter to the attempts and no more', async t => {
  const w = world(t, { 'max-queue-length': 100_000 })
  const names = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`i${index}`, 10]))
  w.assign(names)
  const REQUESTS = 2_000
  const all: FakeExchange[] = []
  for (let i = 0; i < REQUESTS; i++) all.push(w.request({ queueTimeoutMs: 60_000 }))
  // Every attempt is refused at once; who waits gets his turn when an instance is tried again.
  for (let turn = 0; turn < 200 && all.some(fake => fake.answers.length === 0); turn++) {
    for (const fake of all) if (fake.isForwarding) fake.end(notSent())
    w.pass(1_000)
  }
  const attempts = all.reduce((sum, fake) => sum + fake.targets.length, 0)
  const { granted, denied } = w.runtime.retries.counts(w.nowMs)
  const seconds = (w.nowMs - 1_000) / 1_000
  t.ok(
    all.every(fake => fake.answers.length === 1),
    'everybody is told',
  )
  t.ok(attempts <= REQUESTS + 20 + REQUESTS / 4 + 2 * seconds, `${attempts} attempts for ${REQUESTS} requests`)
  t.ok(granted > 0 && denied > 0)
  t.equal(w.runtime.machine.slotsInUse, 0)
  t.equal(w.counts.outstanding, 0)
})

t.test('the budget also ends the second try of what got no answer', async t => {
  const w = world(t)
  w.assign({ a: 1, b: 1 })
  while (w.runtime.retries.take(w.nowMs));
  const fake = w.request()
  fake.end(unanswered(true))
  t.equal(fake.targets.length, 1)
  t.match(fake.answers, [{ status: 502 }])
  t.match(w.errors[0]?.error.details, { code: 'WTR_BACKEND_FAILED' })
})

t.test('debug headers tell of retries', async t => {
  const w = world(t)
  w.assign({ a: 1, b: 1 })
  const fake = w.request({ isDebug: true })
  fake.end(notSent())
  t.match(fake.targets[1]?.lateResponseHead?.(), 'x-waiter-retries: 1\r\n')
})

t.test('each phase has a time-out and an error of its own', async t => {
  const rows: readonly (readonly [Outcome, number, string])[] = [
    [{ kind: 'not-sent', reason: 'connect-timeout', code: 'ETIMEDOUT' }, 502, 'WTR_CONNECT_TIMEOUT'],
    [{ kind: 'not-sent', reason: 'refused', code: 'ECONNREFUSED' }, 502, 'WTR_CONNECT_FAILED'],
    [{ kind: 'response-timeout' }, 504, 'WTR_RESPONSE_TIMEOUT'],
    [{ ...unanswered(false), reason: 'request-stalled' } as Outcome, 503, 'WTR_STREAM_TIMEOUT'],
    [unanswered(false), 502, 'WTR_BACKEND_FAILED'],
  ]
  for (const [outcome, status, code] of rows) {
    const w = world(t)
    w.assign({ a: 1 })
    while (w.runtime.retries.take(w.nowMs));
    const fake = w.request()
    fake.end(outcome)
    t.match(fake.answers, [{ status }], code)
    t.equal(w.errors[0]?.error.details?.code, code)
  }
})

t.test(
  'a gRPC request that waited is forwarded with what is left of its deadline, or answered that it passed',
  async t => {
    const w = world(t)
    w.assign({ a: 1 })
    const first = w.request({ grpcTimeoutMs: 50 })
    t.equal(first.targets[0]?.changedRequestField, undefined, 'what did not wait is forwarded as it came')
    const second = w.request({ grpcTimeoutMs: 50, queueTimeoutMs: 150 })
    const third = w.request({ grpcTimeoutMs: 80, queueTimeoutMs: 180 })
    const fourth = w.request({ grpcTimeoutMs: 85, queueTimeoutMs: 185 })
    w.nowMs += 30.5
    first.end(completed(200))
    t.match(second.targets[0]?.changedRequestField, { name: 'grpc-timeout', value: '19m' })
    w.nowMs += 60
    second.end(completed(200))
    t.match(third.targets[0]?.changedRequestField, { name: 'grpc-timeout', value: '1n' }, 'nothing is left')
    w.pass(100)
    t.equal(fourth.targets.length, 0)
    t.match(w.errors, [
      {
        error: {
          status: 504,
          message: /no instance available/,
          details: { code: 'WTR_GRPC_DEADLINE', 'grpc-timeout-ms': 85 },
        },
      },
    ])
  },
)

t.test('the instance hears how much of the total time-out is left, and what is past it is not begun', async t => {
  const w = world(t)
  w.assign({ a: 1 })
  const first = w.request()
  t.notMatch(first.targets[0]?.extraRequestHead, 'total-timeout', 'nobody gave any')
  const second = w.request({ totalTimeoutMs: 50 })
  const third = w.request({ totalTimeoutMs: 30 })
  w.nowMs += 30.5
  first.end(completed(200))
  t.match(second.targets[0]?.extraRequestHead, /^x-waiter-total-timeout: 19\r\n/m)
  second.end(completed(200))
  t.equal(third.targets.length, 0)
  t.match(w.errors, [{ error: { status: 504, details: { code: 'WTR_TOTAL_TIMEOUT' } } }])
})

t.test('a total time-out ends a request wherever it is', async t => {
  const w = world(t)
  const expire = (): void => {
    for (const callback of [...w.timers.keys()]) callback()
  }
  const waiting = w.request({ totalTimeoutMs: 50 })
  t.same([...w.timers.values()], [50])
  expire()
  t.match(waiting.answers, [{ status: 504 }])
  t.match(w.errors[0]?.error.details, { code: 'WTR_TOTAL_TIMEOUT', 'timeout-ms': 50 })
  t.equal(w.timers.size, 0)

  w.assign({ a: 1 })
  const forwarded = w.request({ totalTimeoutMs: 50 })
  expire()
  t.match(forwarded.answers, [{ status: 504 }])
  t.equal(w.runtime.machine.slotsInUse, 0)

  const streaming = w.request({ totalTimeoutMs: 50 })
  streaming.targets[0]?.onResponseHead?.(200, () => undefined, 0)
  expire()
  t.same(streaming.answers, [])
  t.ok(streaming.isAborted, 'a response that has begun is broken off')
  t.equal(w.runtime.machine.slotsInUse, 0)

  const done = w.request({ totalTimeoutMs: 50 })
  done.end(completed(200))
  t.equal(w.timers.size, 0, 'nothing is left behind')
  const tunnel = w.request({ totalTimeoutMs: 50 })
  tunnel.targets[0]?.onResponseHead?.(101, () => undefined, 0)
  t.equal(w.timers.size, 0, 'tunnels live as long as they like')
  tunnel.end(completed(101))
  t.match(w.counts, { total: 5, outstanding: 0, successful: 2, 'generic-error': 2, 'instance-error': 1 })
})

t.test('a slot that comes to who waits: the leader hears that the instance is in use', async t => {
  const w = world(t)
  const report = () => w.table.collectLoads(false).flatMap(({ instances }) => instances)
  w.request()
  t.same(report(), [], 'it waits')
  const before = w.loadNotes
  w.assign({ a: 1 })
  t.ok(w.loadNotes > before, 'the leader is told at once')
  t.match(report(), [{ instanceId: `${ID}.a`, inUse: 1 }], 'by a new assignment')
  w.request()
  w.runtime.eject(`${ID}.a`, 1_000)
  report()
  w.assign({ a: 1, b: 1 })
  t.match(report(), [{ inUse: 1 }, { inUse: 1 }])
})
