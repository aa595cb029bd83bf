import {
  type ChooseVersionInput,
  chooseVersion,
  formerVersions,
  renderTokenHistory,
  type TokenRecord,
  tokenEtag,
  type VersionState,
} from '@waiter/services'
import fc from 'fast-check'
import t from 'tap'
import { complete, config, record, resolved } from './fixtures.ts'

const healthy: VersionState = { isHealthy: true, isWithdrawn: false }
const sick: VersionState = { isHealthy: false, isWithdrawn: false }
const bad: VersionState = { isHealthy: true, isWithdrawn: true }
const choose = (versions: readonly VersionState[], more: Partial<ChooseVersionInput> = {}) =>
  chooseVersion({ versions, fallbackUntilMs: 100, isHeldBack: false, nowMs: 50, ...more })

for (const [rule, story, given, more, want] of [
  ['F1', 'the newest version serves when it is healthy', [healthy, healthy], {}, { index: 0, reason: 'latest' }],
  [
    'F2',
    'the last healthy version serves until then',
    [sick, sick, healthy],
    {},
    { index: 2, reason: 'latest-not-healthy' },
  ],
  ['F2', 'the newest of several serves', [sick, healthy, healthy], {}, { index: 1 }],
  [
    'F3',
    'after the fallback period requests wait',
    [sick, healthy],
    { nowMs: 100 },
    { index: 0, reason: 'nothing-healthy' },
  ],
  ['F3', 'with nothing healthy requests wait', [sick, sick], {}, { index: 0, reason: 'nothing-healthy' }],
  ['F4', 'a withdrawn version does not serve', [bad, healthy], {}, { index: 1, reason: 'latest-withdrawn' }],
  ['F4', 'nor after the period', [bad, sick], { nowMs: 1e9 }, { index: 1, reason: 'latest-withdrawn' }],
  ['F4', 'nor as what is fallen back to', [sick, bad, healthy], {}, { index: 2 }],
  ['F4', 'before a withdrawn version there may be need to fall back too', [bad, sick, healthy], {}, { index: 2 }],
  ['F4', 'if all were withdrawn the newest serves', [bad, bad], {}, { index: 0 }],
  [
    'F5',
    'a version that is too small waits',
    [healthy, healthy],
    { isHeldBack: true },
    { index: 1, reason: 'latest-held-back' },
  ],
  ['F5', 'unless nothing else can serve', [healthy, sick], { isHeldBack: true }, { index: 0, reason: 'latest' }],
  ['F6', 'a fallback ends with its period', [sick, healthy], {}, { untilMs: 100 }],
  ['F6', 'what time does not change is for ever', [healthy, healthy], {}, { untilMs: Number.POSITIVE_INFINITY }],
] as const) {
  t.test(`${rule} ${story}`, async t => {
    t.match(choose(given, more), want)
  })
}

t.test('F7 the choice agrees with a plain reading of the rules', async t => {
  const state = fc.record({ isHealthy: fc.boolean(), isWithdrawn: fc.boolean() })
  const input = fc.record({
    versions: fc.array(state, { minLength: 1, maxLength: 6 }),
    fallbackUntilMs: fc.integer({ min: 0, max: 100 }),
    isHeldBack: fc.boolean(),
    nowMs: fc.integer({ min: 0, max: 100 }),
  })
  const plainly = ({ versions, fallbackUntilMs, isHeldBack, nowMs }: ChooseVersionInput): number => {
    const left = versions.flatMap((version, index) => (version.isWithdrawn ? [] : [{ ...version, index }]))
    const [newest, ...others] = left
    if (newest === undefined) return 0
    const other = nowMs < fallbackUntilMs ? others.find(version => version.isHealthy) : undefined
    if (newest.isHealthy && (!isHeldBack || other === undefined)) return newest.index
    return other?.index ?? newest.index
  }
  fc.assert(
    fc.property(input, given => {
      const choice = chooseVersion(given)
      t.equal(choice.index, plainly(given))
      // Nothing changes before the named time, and it changes for the better or not at all.
      if (choice.untilMs > given.nowMs + 1 && Number.isFinite(choice.untilMs))
        t.equal(chooseVersion({ ...given, nowMs: choice.untilMs - 1 }).index, choice.index)
    }),
    { seed: 20_260_101, numRuns: 2_000 },
  )
})

/** A token with a past: versions from the oldest to the newest. */
function history(...versions: readonly Partial<TokenRecord>[]): TokenRecord {
  return versions.reduce<TokenRecord | undefined>(
    (previous, version, index) =>
      record({ ...complete, 'last-update-time': 1_000 * (index + 1), ...version, ...(previous && { previous }) }),
    undefined,
  )!
}

function versionsOf(tokens: Record<string, TokenRecord>, names: string) {
  const latest = resolved({ tokens, with: { 'x-waiter-token': names } })
  const input = {
    headers: new Map([['token', names]]),
    host: undefined,
    findToken: (name: string) => tokens[name],
    requester: 'rita',
    isOneUser: false,
    config,
  }
  return { latest, input, former: [...formerVersions(latest, input)] }
}

t.test('F8 the past of one token', async t => {
  const app = history({ version: '1' }, { version: '2', cpus: -1 }, { deleted: true, version: '3' }, { version: '4' })
  const { former } = versionsOf({ app }, 'app')
  t.same(
    former.map(one => one.descriptor.core.version),
    ['1'],
    'neither the version that is not valid any more nor the time without a token',
  )
  const next = app.previous?.previous
  t.same(former[0]?.supersededBy, { token: 'app', version: tokenEtag(next ?? {}), atMs: 2_000 })
})

t.test('F8 of several tokens the newest change is taken back first', async t => {
  const tokens = {
    a: history({ version: 'a1' }, { version: 'a2', 'last-update-time': 9_000 }),
    b: history({ name: 'b1', version: 'b' }, { name: 'b2', version: 'b', 'last-update-time': 8_000 }),
  }
  const { latest, former } = versionsOf(tokens, 'b,a')
  const what = ({ core }: typeof latest) => `${core.version} ${core.name}`
  t.same([what(latest), ...former.map(one => what(one.descriptor))], ['a2 b2', 'a1 b2', 'a1 b1'])
})

t.test('F8 a long past is walked a bounded number of steps', async t => {
  const app = history(...Array.from({ length: 40 }, (_, index) => ({ version: String(index) })))
  t.equal(versionsOf({ app }, 'app').former.length, 16)
})

t.test('F9 the history of a token', async t => {
  const app = history({ version: '1', image: 'one' }, { version: '2' }, { version: '3' })
  const { input } = versionsOf({ app }, 'app')
  const findWithdrawals = () => undefined
  const all = renderTokenHistory(input, { lengthMax: 10, findWithdrawals })
  t.match(all.ok && all.value, [
    { 'service-description': { version: '3' }, 'update-time': '1970-01-01T00:00:03.000Z' },
    { 'service-description': { version: '2', 'version-effective': '2' } },
    { 'service-description': { version: '1', 'image-effective': 'one' }, 'source-component': 'token' },
  ])
  const some = renderTokenHistory(input, { lengthMax: 2, findWithdrawals })
  t.equal(some.ok && some.value.length, 2)
  t.match(renderTokenHistory({ ...input, findToken: () => undefined }, { lengthMax: 2, findWithdrawals }), {
    ok: false,
    error: { status: 404 },
  })
})
