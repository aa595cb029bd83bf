import { dealOut, distribute, type Shares } from '@waiter/slots'
import fc from 'fast-check'
import t from 'tap'

interface Router {
  readonly routerId: string
  readonly lastingDemand: number
  readonly target: Shares
  readonly targetTotal: number
  readonly isStarved: boolean
}

const EMPTY: Shares = new Map()

function router(routerId: string, lastingDemand: number, targetTotal: number, isStarved = false): Router {
  const target: Shares = targetTotal === 0 ? EMPTY : new Map([['old', targetTotal]])
  return { routerId, lastingDemand, target, targetTotal, isStarved }
}

function slotsOf(dealt: ReadonlyMap<Router, Shares>): Record<string, number> {
  return Object.fromEntries([...dealt].map(([{ routerId }, target]) => [routerId, target.get('new') ?? 0]))
}

for (const [sentence, slots, routers, expected] of [
  ['D8 a slot goes to who starves first', 1, [router('a', 9, 1), router('b', 9, 0), router('c', 1, 0, true)], { c: 1 }],
  ['D8 then to who asks and has none', 1, [router('a', 90, 1), router('b', 1, 0), router('c', 0, 0)], { b: 1 }],
  ['D8 then to who lacks most for each that it has', 1, [router('a', 9, 8), router('b', 4, 1)], { b: 1 }],
  [
    'D8 more than all demand goes to all alike',
    3,
    [router('a', 1, 1), router('b', 1, 1), router('c', 1, 1)],
    { a: 1, b: 1, c: 1 },
  ],
  ['D8 the same demand, the first by id', 1, [router('b', 2, 1), router('a', 2, 1)], { a: 1 }],
  ['D8 without routers nothing is dealt', 1, [], {}],
] as const) {
  t.test(sentence, async t => {
    t.same(slotsOf(dealOut([{ instanceId: 'new', slots }], routers)), expected)
  })
}

const arbitraryRouters = fc
  .array(fc.record({ demand: fc.nat(20), total: fc.nat(12), isStarved: fc.boolean() }), { minLength: 1, maxLength: 12 })
  .map(rows =>
    rows.map(({ demand, total, isStarved }, at) =>
      router(`r${String(at).padStart(2, '0')}`, demand, total, isStarved && total === 0 && demand > 0),
    ),
  )

t.test('D1 D5 D8 every new slot is dealt once, nobody loses any, and nobody who wants more is passed over', async t => {
  const check = () =>
    fc.assert(
      fc.property(
        arbitraryRouters,
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
        (routers, sizes) => {
          const instances = sizes.map((slots, at) => ({ instanceId: `new${at}`, slots }))
          const dealt = dealOut(instances, routers)
          const totals = new Map(routers.map(one => [one.routerId, one.targetTotal]))
          for (const { instanceId, slots } of instances) {
            let given = 0
            for (const target of dealt.values()) given += target.get(instanceId) ?? 0
            if (given !== slots) throw new Error(`${given} of ${slots} slots of ${instanceId} were dealt`)
          }
          for (const [{ routerId, target: before, targetTotal }, target] of dealt) {
            for (const [instanceId, slots] of before)
              if (target.get(instanceId) !== slots) throw new Error(`${routerId} lost some of ${instanceId}`)
            let total = 0
            for (const slots of target.values()) total += slots
            if (total <= targetTotal) throw new Error(`${routerId} got nothing, and is named`)
            totals.set(routerId, total)
          }
          const isEmpty = routers.some(one => one.lastingDemand > 0 && totals.get(one.routerId) === 0)
          const isLacking = routers.some(one => totals.get(one.routerId)! < one.lastingDemand)
          for (const { routerId, targetTotal, lastingDemand } of routers) {
            const total = totals.get(routerId)!
            const isGiven = total > targetTotal
            if (isGiven && isLacking && total > lastingDemand) throw new Error(`${routerId} has more than it asked for`)
            if (isGiven && isEmpty && total > 1) throw new Error(`${routerId} has several, and others have none`)
          }
          const reversed = dealOut(instances, [...routers].reverse())
          if (reversed.size !== dealt.size) throw new Error('the order of routers matters')
          for (const [one, target] of reversed) {
            const same = dealt.get(one)
            if (same === undefined || [...target].some(([id, slots]) => same.get(id) !== slots))
              throw new Error('the order of routers matters')
          }
        },
      ),
      { seed: 26, numRuns: 2_000 },
    )
  t.doesNotThrow(check)
})

t.test(
  'D2 D3 after the next look at everybody, the promises hold, and the look moves only what demand moves',
  async t => {
    const check = () =>
      fc.assert(
        fc.property(arbitraryRouters, fc.integer({ min: 1, max: 4 }), (routers, slots) => {
          const dealt = dealOut([{ instanceId: 'new', slots }], routers)
          const old = routers.reduce((sum, { targetTotal }) => sum + targetTotal, 0)
          const shares = distribute({
            instances: [
              { instanceId: 'old', slots: old },
              { instanceId: 'new', slots },
            ],
            routers: routers.map(one => ({
              ...{ routerId: one.routerId, demand: one.lastingDemand, isStarved: one.isStarved, inUse: EMPTY },
              current: dealt.get(one) ?? one.target,
            })),
            turn: 0,
          })
          const total = (id: string): number => [...(shares.get(id) ?? [])].reduce((sum, [, count]) => sum + count, 0)
          const demanded = routers.reduce((sum, { lastingDemand }) => sum + lastingDemand, 0)
          const claimants = routers.filter(({ lastingDemand }) => lastingDemand > 0)
          for (const { routerId, lastingDemand } of claimants) {
            if (demanded <= old + slots && total(routerId) < lastingDemand) throw new Error(`${routerId} lacks some`)
            if (old + slots >= claimants.length && total(routerId) === 0) throw new Error(`${routerId} has none`)
          }
        }),
        { seed: 27, numRuns: 1_000 },
      )
    t.doesNotThrow(check)
  },
)
