import {
  DEFAULT_BROKEN_SERVICE,
  DEFAULT_DEPLOYMENT_ERROR,
  type DecideDeploymentErrorInput,
  type DecideIdleInput,
  decideBroken,
  decideDeploymentError,
  decideIdle,
  decideInstability,
  type InstanceFacts,
  scaleSpecOf,
  statusLabel,
} from '@waiter/scaling'
import type { EffectiveDescription } from '@waiter/services'
import t from 'tap'
import { SPEC } from './simulate.ts'

let sequence = 0
function facts(flags: readonly string[], more: Partial<InstanceFacts> = {}): InstanceFacts {
  sequence++
  return {
    ...{
      instanceId: `i${sequence}`,
      host: 'h1',
      startedAtMs: sequence,
      endedAtMs: sequence + 10,
      flags,
      exitCode: null,
    },
    ...{ healthCheckStatus: null, message: null, stderrTail: '' },
    ...more,
  }
}
function errorOf(failed: readonly InstanceFacts[], more: Partial<DecideDeploymentErrorInput> = {}) {
  return decideDeploymentError({ healthy: 0, failed, unhealthy: [], config: DEFAULT_DEPLOYMENT_ERROR, ...more })
}
const RESPONDED = ['has-connected', 'has-responded', 'never-passed-health-checks']

for (const [sentence, failed, code, message] of [
  [
    'D1 all over the memory limit',
    [facts(['memory-limit-exceeded'], { exitCode: 1 }), facts(['memory-limit-exceeded'], { exitCode: 1 })],
    'not-enough-memory',
    'Not enough memory allocated',
  ],
  [
    'D2 all with the same exit code',
    [facts([], { exitCode: 127 }), facts([], { exitCode: 127 })],
    'bad-startup-command',
    'Invalid startup command',
  ],
  [
    'D2 exit code 0 is an exit code',
    [facts([], { exitCode: 0 }), facts([], { exitCode: 0 })],
    'bad-startup-command',
    'Invalid startup command',
  ],
  [
    'D3 all with TLS trouble',
    [facts(['ssl-exception']), facts(['ssl-exception'])],
    'tls-error',
    'TLS error during health checks',
  ],
  [
    'D4 different exit codes and nobody listened',
    [facts([], { exitCode: 1 }), facts([], { exitCode: 2 })],
    'cannot-connect',
    'Unable to connect to run health checks',
  ],
  [
    'D5 all connected, all timed out',
    [facts(['has-connected', 'timeout-exception']), facts(['has-connected', 'timeout-exception'])],
    'health-check-timed-out',
    'Health check timed out',
  ],
  [
    'D5 connected, and hung up',
    [facts(['has-connected', 'hangup-exception']), facts(['has-connected', 'timeout-exception'])],
    'bad-socket',
    'The connection was closed before the health check was answered',
  ],
  [
    'D6 responded, but never well',
    [facts(RESPONDED), facts(RESPONDED)],
    'invalid-health-check-response',
    'The health check never answered with a 2xx status',
  ],
  [
    'D6 one of them was well once: no verdict',
    [facts(RESPONDED), facts(['has-connected', 'has-responded'])],
    undefined,
    undefined,
  ],
  ['D9 a single failure is no evidence', [facts([], { exitCode: 127 })], undefined, undefined],
  ['D9 no failure is no evidence', [], undefined, undefined],
] as const) {
  t.test(sentence, async t => {
    const error = errorOf(failed)
    t.equal(error?.code, code)
    t.equal(error?.message, message)
    if (error !== undefined) t.ok(error.advice.length > 10)
  })
}

t.test('D7 a health check that wants credentials is told without any failure', async t => {
  const unhealthy = [facts([], { healthCheckStatus: 401 }), facts([], { healthCheckStatus: 200 })]
  t.equal(errorOf([], { unhealthy })?.code, 'health-check-requires-authentication')
  t.equal(errorOf([], { unhealthy: [...unhealthy].reverse() }), undefined)
})

t.test('D8 one healthy instance means no error, unless the scheduler itself has one', async t => {
  const failed = [facts([], { exitCode: 127 }), facts([], { exitCode: 127 })]
  t.equal(errorOf(failed, { healthy: 1 }), undefined)
  const schedulerError = {
    code: 'image-pull-failed',
    message: 'Cannot pull image x',
    advice: 'Check the name of the image.',
  }
  t.match(errorOf(failed, { healthy: 1, schedulerError }), { ...schedulerError, failedInstances: 2 })
})

t.test('D9 two failures on one host are enough, and that can be changed', async t => {
  const failed = [facts([], { exitCode: 1 }), facts([], { exitCode: 1 })]
  t.match(errorOf(failed), { code: 'bad-startup-command', failedInstances: 2, failedHosts: 1 })
  t.equal(errorOf(failed, { config: { minFailedInstances: 2, minHosts: 2 } }), undefined)
  t.equal(errorOf(failed, { config: { minFailedInstances: 3, minHosts: 1 } }), undefined)
})

t.test('D10 the newest failure is shown with its last words', async t => {
  const lines = Array.from({ length: 30 }, (_, index) => `line ${index}`)
  const last = facts([], {
    exitCode: 3,
    message: 'Exited with code 3',
    stderrTail: `${lines.join('\n')}\n\n`,
    endedAtMs: 9e9,
  })
  const error = errorOf([facts([], { exitCode: 3 }), last, facts([], { exitCode: 3, stderrTail: 'older' })])
  t.match(error?.newestFailure, { instanceId: last.instanceId, exitCode: 3, message: 'Exited with code 3' })
  t.same(error?.newestFailure?.stderrLines, lines.slice(20))
  const long = errorOf([
    facts([], { exitCode: 3 }),
    facts([], { exitCode: 3, endedAtMs: null, startedAtMs: 9e9, stderrTail: 'x'.repeat(5000) }),
  ])
  t.equal(long?.newestFailure?.stderrLines[0]?.length, 300)
  t.equal(errorOf([], { unhealthy: [facts([], { healthCheckStatus: 401 })] })?.newestFailure, null)
})

t.test('D11 one instance over its memory limit makes a service unstable', async t => {
  t.equal(decideInstability([facts([]), facts(['memory-limit-exceeded'])]), 'not-enough-memory')
  t.equal(decideInstability([facts([])]), undefined)
})

for (const [label, hasDeploymentError, requested, scheduled, healthy] of [
  ['Failing', true, 1, 1, 1],
  ['Inactive', false, 0, 0, 0],
  ['Starting', false, 1, 0, 0],
  ['Starting', false, 0, 1, 0],
  ['Running', false, 1, 1, 1],
] as const) {
  t.test(
    `S1 ${label}: error ${hasDeploymentError}, requested ${requested}, scheduled ${scheduled}, healthy ${healthy}`,
    async t => {
      t.equal(statusLabel({ hasDeploymentError, requested, scheduled, healthy }), label)
    },
  )
}

const MINUTE = 60_000
function idle(usage: Partial<DecideIdleInput['usage']>, more: Partial<DecideIdleInput> = {}) {
  const full = { outstanding: 0, lastRequestMs: null, lastModifiedMs: 0, ...usage }
  return decideIdle({ usage: full, idleTimeoutMins: 30, nowMs: 30 * MINUTE, ...more })
}
const FOR_EVER = { kind: 'keep', untilMs: Number.POSITIVE_INFINITY }

for (const [sentence, verdict, expected] of [
  ['G1 a service at work is kept', idle({ outstanding: 1 }), FOR_EVER],
  ['G2 after 30 unused minutes it goes', idle({}), { kind: 'collect', reason: 'No request for 30 minutes.' }],
  [
    'G2 a request counts from when it came',
    idle({ lastRequestMs: 5 * MINUTE }),
    { kind: 'keep', untilMs: 35 * MINUTE },
  ],
  [
    'G2 a change counts as well',
    idle({ lastRequestMs: 0, lastModifiedMs: MINUTE }),
    { kind: 'keep', untilMs: 31 * MINUTE },
  ],
  ['G3 time-out 0 means never', idle({}, { idleTimeoutMins: 0, nowMs: 1e15 }), FOR_EVER],
  [
    'G4 a stale service goes when its fallback time is over',
    idle({ lastRequestMs: 29 * MINUTE }, { stale: { sinceMs: MINUTE, keepMs: MINUTE } }),
    { kind: 'collect' },
  ],
  [
    'G4 a stale service goes even if it would never',
    idle({}, { idleTimeoutMins: 0, stale: { sinceMs: 0, keepMs: 1 } }),
    { kind: 'collect' },
  ],
  ['G4 a stale service at work is kept', idle({ outstanding: 1 }, { stale: { sinceMs: 0, keepMs: 0 } }), FOR_EVER],
  [
    'G5 a stale service is looked at again when its time is over',
    idle({}, { stale: { sinceMs: 20 * MINUTE, keepMs: 15 * MINUTE } }),
    { kind: 'keep', untilMs: 35 * MINUTE },
  ],
] as const) {
  t.test(sentence, async t => {
    t.match(verdict, expected)
  })
}

t.test('G5 one millisecond decides', async t => {
  t.same(idle({}, { nowMs: 30 * MINUTE - 1 }), { kind: 'keep', untilMs: 30 * MINUTE })
  t.equal(idle({}, { nowMs: 30 * MINUTE }).kind, 'collect')
})

t.test('G6 G7 a service that only fails is given up after grace period and half an hour', async t => {
  const input = { healthy: 0, failedHosts: 1, unchangedSinceMs: 0, gracePeriodSecs: 30, config: DEFAULT_BROKEN_SERVICE }
  const giveUpMs = 30 * MINUTE + 30_000
  t.same(decideBroken({ ...input, nowMs: giveUpMs - 1 }), { kind: 'keep', untilMs: giveUpMs })
  t.equal(decideBroken({ ...input, nowMs: giveUpMs }).kind, 'collect')
  t.same(decideBroken({ ...input, healthy: 1, nowMs: 1e12 }), FOR_EVER)
  t.same(decideBroken({ ...input, failedHosts: 0, nowMs: 1e12 }), FOR_EVER)
  t.same(decideBroken({ ...input, config: { timeoutMins: 30, minHosts: 2 }, nowMs: 1e12 }), FOR_EVER)
})

t.test('W1 parameters are read from the description; a stale service keeps one instance', async t => {
  const description = {
    ...{ 'min-instances': 4, 'max-instances': 500, 'concurrency-level': 1, 'scale-factor': 1, 'scale-up-factor': 0.1 },
    ...{ 'scale-down-factor': 0.001, 'jitter-threshold': 0.5, 'expired-instance-restart-rate': 0.1 },
  } as EffectiveDescription
  t.same(scaleSpecOf(description, { isStale: false }), { ...SPEC, minInstances: 4 })
  t.same(scaleSpecOf(description, { isStale: true }), SPEC)
})
