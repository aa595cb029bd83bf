import type { ServiceSummary, SuccessionState } from '@waiter/control'
import {
  createServicesConfig,
  createSimpleEntitlements,
  type Descriptor,
  type ResolveInput,
  resolveDescriptor,
  type TokenRecord,
  tokenEtag,
} from '@waiter/services'
import t, { type Test } from 'tap'
import type { Choice } from '../src/versions/version-chooser.ts'
import { createVersions } from './support/versions.ts'

const config = createServicesConfig()
const SECOND = 1_000
const WRITTEN_MS = 1_000_000

/** A token with versions `1`, `2` …, the newest written just now, and what is known of the services in the test's hands. */
function world(t: Test, changes: readonly Partial<TokenRecord>[], headers: Record<string, string> = {}) {
  const clock = { nowMs: WRITTEN_MS }
  const around = createVersions(createSimpleEntitlements(['alice']), () => clock.nowMs)
  t.teardown(() => around.versions.forgetAll())
  const records: TokenRecord[] = []
  for (const [index, change] of changes.entries()) {
    const previous = records.at(-1)
    records.push({
      ...{ cmd: 'serve', cpus: 1, mem: 64, version: String(index + 1), 'run-as-user': 'alice', 'permitted-user': '*' },
      ...{ cluster: 'w', root: 'w', owner: 'alice', 'last-update-user': 'alice' },
      'last-update-time': WRITTEN_MS - (changes.length - 1 - index) * 60 * SECOND,
      ...change,
      ...(previous && { previous }),
    })
  }
  const input: ResolveInput = {
    headers: new Map([['token', 'app'], ...Object.entries(headers)]),
    host: undefined,
    findToken: name => (name === 'app' ? records.at(-1) : undefined),
    requester: 'alice',
    isOneUser: true,
    config,
  }
  const resolve = (record: TokenRecord): Descriptor => {
    const resolved = resolveDescriptor({ ...input, findToken: () => record })
    if (!resolved.ok) throw new Error(resolved.error.message)
    return resolved.value
  }
  const descriptors = records.map(resolve)
  const tell = (version: number, healthy: number, successions: readonly SuccessionState[] = []) =>
    around.table.applyAssignment({
      isFull: false,
      upserts: [
        { definition: descriptors[version - 1]!.definition, leases: [], summary: summaryOf(healthy, successions) },
      ],
      removals: [],
    })
  const choose = (isRemembered = true) =>
    around.versions.choose(descriptors.at(-1)!, input, { isRemembered, isLatest: false })
  const versionOf = ({ resolution }: Choice) => resolution.ok && resolution.value.core.version
  const state = (from: number, kind: SuccessionState['kind']): SuccessionState => ({
    predecessorId: descriptors[from - 1]!.serviceId,
    token: 'app',
    version: tokenEtag(records.at(-1)!),
    kind,
    reason: 'because',
    wanted: 1,
  })
  return { ...around, clock, records, descriptors, tell, choose, versionOf, state, input }
}

function summaryOf(healthy: number, successions: readonly SuccessionState[]): ServiceSummary {
  return {
    status: healthy > 0 ? 'Running' : 'Starting',
    healthy,
    unhealthy: 0,
    requested: 1,
    scalingState: 'stable',
    problem: null,
    startTrouble: null,
    sourceTokens: [],
    isOnTheFly: false,
    isStale: false,
    successions,
    outstanding: 0,
    total: 0,
    lastRequestMs: 0,
  }
}

t.test('without a past the newest version serves, and nobody is asked', async t => {
  const w = world(t, [{}])
  t.equal(w.versionOf(w.choose()), '1')
  t.same(w.wanted, [])
})

t.test(
  'the old version serves until the leader says that the new one is ready; the choice follows by itself',
  async t => {
    const w = world(t, [{}, {}])
    w.tell(1, 3)
    const choice = w.choose()
    t.equal(w.versionOf(choice), '1')
    t.match(choice.resolution, { fallbackFrom: w.descriptors[1]!.serviceId })
    t.match(w.wanted, [
      {
        definition: { id: w.descriptors[1]!.serviceId },
        predecessorId: w.descriptors[0]!.serviceId,
        share: 1,
        withdrawIfBad: true,
        token: 'app',
        version: tokenEtag(w.records[1]!),
      },
    ])
    w.tell(2, 1, [w.state(1, 'pending')])
    t.equal(w.versionOf(choice), '1', 'healthy, but too small')
    w.tell(2, 3, [w.state(1, 'ready')])
    t.equal(w.versionOf(choice), '2')
    t.match(choice.resolution, { fallbackFrom: undefined })
    w.tell(2, 0, [w.state(1, 'ready')])
    t.equal(w.versionOf(choice), '1', 'it fell ill')
    t.equal(w.versionOf(w.choose()), '1', 'another selection finds the same')
    t.equal(w.wanted.length, 1, 'and does not ask again')
    w.clock.nowMs += 6 * SECOND
    w.tell(2, 0, [w.state(1, 'ready')])
    t.equal(w.wanted.length, 2, 'after a while it does')
  },
)

t.test('a leader that does not answer does not keep a healthy version from serving', async t => {
  const w = world(t, [{}, {}])
  w.tell(1, 1)
  w.tell(2, 1)
  const choice = w.choose()
  t.equal(w.versionOf(choice), '1')
  w.clock.nowMs += 2 * SECOND
  w.tell(2, 2)
  t.equal(w.versionOf(choice), '2')
  const alone = world(t, [{}, {}])
  alone.link.leader = { isConnected: false, leaderId: null, term: 0 }
  alone.tell(1, 1)
  alone.tell(2, 1)
  t.equal(alone.versionOf(alone.choose()), '2', 'nor does one that is away')
})

t.test('after the fallback period, or without one, requests wait for the new version', async t => {
  const w = world(t, [{}, { 'fallback-period-secs': 10 }])
  w.tell(1, 1)
  const choice = w.choose()
  t.equal(w.versionOf(choice), '1')
  w.clock.nowMs += 10 * SECOND
  w.tell(1, 2)
  t.equal(w.versionOf(choice), '2')
  t.equal(w.versionOf(w.choose()), '2')
  for (const headers of [{}, { 'fallback-period-secs': '0' }] as const) {
    const none = world(t, [{}, 'fallback-period-secs' in headers ? {} : { 'fallback-period-secs': 0 }], headers)
    none.tell(1, 1)
    t.equal(none.versionOf(none.choose()), '2')
    t.same(none.wanted, [])
  }
  const longer = world(t, [{}, { 'fallback-period-secs': 0 }], { 'fallback-period-secs': '60' })
  longer.tell(1, 1)
  t.equal(longer.versionOf(longer.choose(false)), '1', 'a header may also give one')
})

t.test('a withdrawn version does not serve, whoever says so first', async t => {
  const w = world(t, [{}, {}])
  w.tell(1, 1)
  w.tell(2, 1, [w.state(1, 'ready')])
  const choice = w.choose()
  t.equal(w.versionOf(choice), '2')
  w.tell(2, 1, [w.state(1, 'withdrawn')])
  t.equal(w.versionOf(choice), '1', 'the leader')

  const [old, latest] = w.descriptors
  const stored = world(t, [{}, {}])
  stored.withdrawals.set('app', {
    withdrawals: [
      {
        ...latest!.tokens[0]!,
        serviceId: latest!.serviceId,
        predecessorId: old!.serviceId,
        code: 'latency',
        reason: 'slow',
        atMs: WRITTEN_MS,
      },
    ],
  })
  stored.tell(2, 1)
  t.equal(stored.versionOf(stored.choose()), '1', 'the store, also when nothing of the old one runs')
  stored.clock.nowMs += 86_400 * SECOND
  t.equal(stored.versionOf(stored.choose()), '1', 'also after the fallback period')
})

t.test('a version that was written again without a change of its service is as bad as before it', async t => {
  const w = world(t, [{ version: 'old' }, { version: 'bad' }, { version: 'bad', 'stale-timeout-mins': 1 }])
  w.tell(1, 1)
  w.tell(3, 1, [w.state(1, 'withdrawn')])
  t.equal(w.versionOf(w.choose()), 'old')
})

t.test('who may not use the chosen version is refused, and that is not remembered', async t => {
  const w = world(t, [{ 'permitted-user': 'bob' }, {}])
  w.tell(1, 1)
  const choice = w.choose()
  t.match(choice.resolution, { ok: false, error: { status: 403 } })
  w.tell(2, 1, [w.state(1, 'ready')])
  t.match(choice.resolution, { ok: false }, 'nobody follows it')
  t.equal(w.versionOf(w.choose()), '2')
})

t.test('references are noted once, and again after the service is gone', async t => {
  const w = world(t, [{}])
  w.choose()
  w.choose()
  const [descriptor] = w.descriptors
  t.same(w.references.collect(false), [{ serviceId: descriptor!.serviceId, sourceTokens: descriptor!.tokens }])
  t.same(w.references.collect(false), [])
  t.equal(w.references.collect(true).length, 1)
  w.table.applyAssignment({ isFull: false, upserts: [], removals: [descriptor!.serviceId] })
  t.same(w.references.collect(true), [])
  w.choose()
  t.equal(w.references.collect(false).length, 1)
})

t.test('a traffic split', async t => {
  const share = (choice: Choice, head: Record<string, string> = {}, count = 1_000) => {
    let newest = 0
    for (let index = 0; index < count; index++) {
      const picked = choice.splitter?.pick({ get: name => head[name] })
      if (picked?.value.core.version === '2') newest += 1
    }
    return newest / count
  }
  const split = (more: object) => world(t, [{}, { 'traffic-split': { percent: 30, ...more } }])

  await t.test('gives each version its share, once both are there', async t => {
    const w = split({})
    w.tell(1, 1)
    const choice = w.choose()
    t.equal(choice.splitter, undefined, 'the new one is not there')
    t.equal(w.versionOf(choice), '1')
    t.match(w.wanted, [{ share: 0.3 }], 'and is started for its share')
    w.tell(2, 1, [w.state(1, 'ready')])
    t.ok(Math.abs(share(choice) - 0.3) < 0.005)
    w.tell(1, 0)
    t.equal(choice.splitter, undefined, 'without the old one, the new one takes everything')
    t.equal(w.versionOf(choice), '2')
    w.tell(2, 0, [w.state(1, 'ready')])
    w.tell(1, 1)
    w.clock.nowMs += 86_400 * SECOND
    w.tell(1, 2)
    t.equal(w.versionOf(choice), '1', 'and the other way round, at any time')
  })

  await t.test('remembers a user by a header', async t => {
    const w = split({ sticky: 'header:x-user' })
    w.tell(1, 1)
    w.tell(2, 1, [w.state(1, 'ready')])
    const choice = w.choose()
    let newest = 0
    for (let user = 0; user < 500; user++) {
      const one = share(choice, { 'x-user': `user-${user}` }, 5)
      t.ok(one === 0 || one === 1)
      newest += one
    }
    t.ok(Math.abs(newest / 500 - 0.3) < 0.07, `${newest} of 500 users`)
  })

  await t.test('or by a cookie', async t => {
    const w = split({ sticky: 'cookie' })
    w.tell(1, 1)
    w.tell(2, 1, [w.state(1, 'ready')])
    const choice = w.choose()
    const first = choice.splitter?.pick({ get: () => undefined })
    const [name, cookie] = first?.answerHeaders[0] ?? []
    t.equal(name, 'set-cookie')
    t.match(cookie, /^x-waiter-split-[0-9a-f]{8}=\d+; Path=\/; Max-Age=2592000; HttpOnly; SameSite=Lax$/)
    const again = choice.splitter?.pick({ get: () => `other=1; ${cookie?.split(';')[0]}` })
    t.equal(again?.value, first?.value)
    t.same(again?.answerHeaders, [], 'it is not set again')
  })
})
