import {
  addWithdrawal,
  computeStaleness,
  findWithdrawal,
  pruneWithdrawals,
  renderReference,
  type ServiceReference,
  type TokenRecord,
  tokenEtag,
  type Withdrawal,
  type WithdrawalRecord,
} from '@waiter/services'
import fc from 'fast-check'
import t from 'tap'
import { complete, config, record } from './fixtures.ts'

const KEEP_MS = 300_000 + 15 * 60_000

/** Versions of one token, oldest first, each with the whole past before it. */
function versions(...changes: readonly Partial<TokenRecord>[]): TokenRecord[] {
  const made: TokenRecord[] = []
  for (const change of changes) {
    const previous = made.at(-1)
    made.push(
      record({ ...complete, 'last-update-time': 1_000 * (made.length + 1), ...change, ...(previous && { previous }) }),
    )
  }
  return made
}
const ref = (token: string, version: TokenRecord): ServiceReference => ({
  sources: [{ token, version: tokenEtag(version) }],
})
const withdrawal = (fields: Partial<Withdrawal>): Withdrawal => ({
  token: 'app',
  version: 'v',
  serviceId: 'new',
  predecessorId: 'old',
  code: 'latency',
  reason: 'slow',
  atMs: 77,
  ...fields,
})

function staleness(
  references: readonly ServiceReference[],
  tokens: Record<string, TokenRecord | undefined>,
  more: { serviceId?: string; withdrawals?: WithdrawalRecord } = {},
) {
  return computeStaleness({
    serviceId: more.serviceId ?? 'old',
    references,
    findToken: name => tokens[name],
    findWithdrawals: () => more.withdrawals,
    config,
  })
}

t.test('S1 nothing known, or reached on the fly: not stale', async t => {
  const [one, two] = versions({ version: '1' }, { version: '2' }) as [TokenRecord, TokenRecord]
  t.equal(staleness([], { app: two }), undefined)
  t.equal(staleness([{ sources: [] }, ref('app', one)], { app: two }), undefined)
})

t.test('S2 stale when all references are, and those when all tokens have moved on', async t => {
  const [one, two] = versions({ version: '1' }, { version: '2' }) as [TokenRecord, TokenRecord]
  t.ok(staleness([ref('app', one)], { app: two }))
  t.equal(staleness([ref('app', two)], { app: two }), undefined)
  t.equal(staleness([ref('app', one), ref('other', one)], { app: two, other: one }), undefined, 'another still leads')
  const both = { sources: [...ref('app', one).sources, ...ref('other', one).sources] }
  t.equal(staleness([both], { app: two, other: one }), undefined, 'one of two has moved on')
  t.ok(staleness([both], { app: two, other: two }))
})

t.test('S3 a deleted token leads nowhere; neither does a raw service id; an unchanged description does', async t => {
  const [one, two, same] = versions(
    { version: '1' },
    { version: '1', deleted: true },
    { version: '1', owner: 'bob', 'fallback-period-secs': 7 },
  ) as [TokenRecord, TokenRecord, TokenRecord]
  t.match(staleness([ref('app', one)], { app: two }), { sinceMs: 2_000 })
  t.match(staleness([ref('app', one)], { app: undefined }), { sinceMs: undefined }, 'gone for good')
  t.ok(staleness([{ sources: [{ token: '^SERVICE-ID#old', version: 'x' }] }], {}))
  const { previous: _, ...first } = one
  t.equal(staleness([ref('app', first as TokenRecord)], { app: { ...same, previous: first } }), undefined)
})

t.test('S4 since the last reference ended', async t => {
  const past = versions({ version: '1' }, { version: '2' }, { version: '3' })
  const [one, two, three] = past as [TokenRecord, TokenRecord, TokenRecord]
  t.equal(staleness([ref('app', one)], { app: three })?.sinceMs, 2_000)
  t.equal(staleness([ref('app', one), ref('app', two)], { app: three })?.sinceMs, 3_000)
  t.equal(staleness([{ sources: [{ token: 'app', version: 'E-older' }] }], { app: three })?.sinceMs, 3_000)
})

t.test('S5 kept for fallback period and stale time-out of the token as it is now', async t => {
  const [one, two] = versions(
    { version: '1' },
    { version: '2', 'fallback-period-secs': 10, 'stale-timeout-mins': 1 },
  ) as [TokenRecord, TokenRecord]
  t.equal(staleness([ref('app', one)], { app: two })?.keepMs, 70_000)
  t.equal(staleness([ref('app', one), ref('other', one)], { app: two, other: undefined })?.keepMs, KEEP_MS)
})

t.test('S6 what serves in place of a withdrawn version is not stale; the withdrawn one is', async t => {
  const [one, two, three] = versions({ version: '1' }, { version: '2' }, { version: '3' }) as [
    TokenRecord,
    TokenRecord,
    TokenRecord,
  ]
  const withdrawals = { withdrawals: [withdrawal({ version: tokenEtag(two) })] }
  t.equal(staleness([ref('app', one)], { app: two }, { withdrawals }), undefined)
  t.equal(staleness([ref('app', two)], { app: two }, { withdrawals, serviceId: 'new' })?.sinceMs, 77)
  t.equal(staleness([ref('app', two)], { app: two }, { withdrawals, serviceId: 'other' }), undefined)
  t.equal(staleness([ref('app', one)], { app: three }, { withdrawals })?.sinceMs, 3_000, 'until something newer comes')
})

t.test('S7 the version that gets the rest of a split is not stale', async t => {
  const split = (percent: number) => ({ 'traffic-split': { percent } })
  const [zero, one, two, three] = versions(
    { version: '0' },
    { version: '1' },
    { version: '2', ...split(10) },
    { version: '2', ...split(50) },
  ) as [TokenRecord, TokenRecord, TokenRecord, TokenRecord]
  t.equal(staleness([ref('app', one)], { app: two }), undefined)
  t.equal(staleness([ref('app', one)], { app: three }), undefined, 'whatever was written of the new version since')
  t.equal(staleness([ref('app', zero)], { app: three })?.sinceMs, 2_000)
  t.ok(staleness([ref('app', one)], { app: { ...three, ...split(100) } }))
})

t.test('S8 a stale service stays stale, whatever else is written', async t => {
  const write = fc.record({
    version: fc.constantFrom('2', '3', '4'),
    cpus: fc.constantFrom(1, 2),
    owner: fc.constantFrom('alice', 'bob'),
  })
  fc.assert(
    fc.property(fc.array(write, { minLength: 1, maxLength: 4 }), fc.integer({ min: 0, max: 1 }), (writes, extra) => {
      const all = versions({ version: '1' }, ...writes)
      const references = [
        ref('app', all[0]!),
        ...(extra === 0 ? [] : [{ sources: [{ token: 'gone', version: 'E-1' }] }]),
      ]
      let sinceMs = 0
      for (const latest of all.slice(1)) {
        const stale = staleness(references, { app: latest })
        t.ok(stale)
        if (stale?.sinceMs !== undefined) {
          t.ok(stale.sinceMs >= sinceMs, 'time does not go back')
          sinceMs = stale.sinceMs
        }
      }
    }),
    { seed: 20_260_102, numRuns: 300 },
  )
})

t.test('references as they are shown', async t => {
  t.same(renderReference({ sources: [] }), {})
  const sources = [{ token: 'app', version: 'E-1' }]
  t.same(renderReference({ sources }), { token: { sources } })
})

t.test('B1 a withdrawal holds for one version as one service', async t => {
  const find = () => ({ withdrawals: [withdrawal({ version: 'E-2' })] })
  const tokens = (version: string) => [{ token: 'app', version }]
  t.match(findWithdrawal({ serviceId: 'new', tokens: tokens('E-2') }, find), { reason: 'slow' })
  t.equal(findWithdrawal({ serviceId: 'new', tokens: tokens('E-3') }, find), undefined)
  t.equal(findWithdrawal({ serviceId: 'other', tokens: tokens('E-2') }, find), undefined)
  t.equal(findWithdrawal({ serviceId: 'new', tokens: [] }, find), undefined)
})

t.test('B2 the newest withdrawals are kept, and the first reason', async t => {
  let stored: WithdrawalRecord | undefined
  for (let index = 0; index < 40; index++) stored = addWithdrawal(stored, withdrawal({ version: `E-${index}` }))
  t.equal(stored?.withdrawals.length, 32)
  t.equal(stored?.withdrawals[0]?.version, 'E-39')
  t.equal(addWithdrawal(stored, withdrawal({ version: 'E-39', reason: 'again' })), stored)
})

t.test('B3 withdrawals go with the versions that they are about', async t => {
  const [one, two] = versions({ version: '1' }, { version: '2' }) as [TokenRecord, TokenRecord]
  const about = (record: TokenRecord) => withdrawal({ version: tokenEtag(record) })
  const stored = { withdrawals: [about(two), about(one), withdrawal({ version: 'E-forgotten' })] }
  t.same(pruneWithdrawals(stored, two), { withdrawals: [about(two), about(one)] })
  t.same(pruneWithdrawals(stored, one), { withdrawals: [about(one)] })
  t.equal(pruneWithdrawals(stored, undefined), undefined)
})
