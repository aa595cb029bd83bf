import { createPrng } from '@waiter/base'
import { type DistributeRouter, distribute, type Shares } from '@waiter/slots'
import fc from 'fast-check'
import t from 'tap'

const EMPTY: Shares = new Map()

function instances(...slots: number[]): { instanceId: string; slots: number }[] {
  return slots.map((count, index) => ({ instanceId: `i${index}`, slots: count }))
}

function routers(
  demands: Readonly<Record<string, number>>,
  current: Readonly<Record<string, Shares>> = {},
): DistributeRouter[] {
  return Object.entries(demands).map(([routerId, demand]) => ({
    ...{ routerId, demand, inUse: EMPTY },
    current: current[routerId] ?? EMPTY,
  }))
}

function totals(distribution: ReadonlyMap<string, Shares>): Record<string, number> {
  const total = (shares: Shares): number => [...shares.values()].reduce((sum, slots) => sum + slots, 0)
  return Object.fromEntries([...distribution].map(([routerId, shares]) => [routerId, total(shares)]))
}

for (const [sentence, slots, demands, expected] of [
  ['D2 without demand, routers get equal shares', [4, 4], { a: 0, b: 0 }, { a: 4, b: 4 }],
  ['D2 a router with all the demand gets all it needs', [1, 1, 1, 1], { a: 4, b: 0, c: 0 }, { a: 4, b: 0, c: 0 }],
  ['D2 what is left goes to all, more to the busier', [10, 10], { a: 8, b: 0 }, { a: 17, b: 3 }],
  ['D2 a single spare slot goes to the busiest router', [5], { a: 4, b: 0 }, { a: 5, b: 0 }],
  ['D3 too few slots are shared by demand, after an even part', [5, 5], { a: 90, b: 10 }, { a: 8, b: 2 }],
  ['D3 a small router among big ones still gets one slot', [5, 5], { a: 1000, b: 1000, c: 1 }, { a: 5, b: 4, c: 1 }],
  ['D3 an idle router gets nothing while others queue', [2, 2], { a: 10, b: 10, c: 0 }, { a: 2, b: 2, c: 0 }],
  ['D4 one slot goes to a router that asks', [1], { a: 0, b: 3, c: 0 }, { a: 0, b: 1, c: 0 }],
  ['D1 without routers nothing is shared out', [3], {}, {}],
  ['D1 without instances nothing is shared out', [], { a: 3 }, { a: 0 }],
] as const) {
  t.test(sentence, async t => {
    const distribution = distribute({ instances: instances(...slots), routers: routers(demands), turn: 0 })
    t.same(totals(distribution), expected)
  })
}

t.test('D4 too few slots lie with a few routers, evenly, and never all with one', async t => {
  for (const [slots, expected] of [
    [2, [1, 1]],
    [4, [2, 2]],
    [7, [4, 3]],
    [13, [4, 3, 3, 3]],
  ] as const) {
    const demands = Object.fromEntries(Array.from({ length: slots + 1 }, (_, index) => [`r${index}`, 1 + index]))
    const distribution = distribute({ instances: instances(slots), routers: routers(demands), turn: 0 })
    const held = Object.values(totals(distribution)).filter(total => total > 0)
    t.same(
      held.sort((a, b) => b - a),
      expected,
    )
  }
})

t.test('D4 too few slots stay where they are, whatever the turn', async t => {
  const before = distribute({ instances: instances(1, 1), routers: routers({ a: 5, b: 9, c: 1 }), turn: 0 })
  for (let turn = 1; turn < 4; turn++) {
    const claims = routers({ a: 1, b: 2, c: 9 }, Object.fromEntries(before))
    t.same(distribute({ instances: instances(1, 1), routers: claims, turn }), before)
  }
})

t.test('D4 in a round of turns every router that starves is served', async t => {
  const served = new Set<string>()
  let current: Record<string, Shares> = {}
  for (let turn = 0; turn < 3; turn++) {
    const claims = routers({ a: 5, b: 9, c: 1, d: 0, e: 7 }, current).map(claim => ({
      ...claim,
      isStarved: !served.has(claim.routerId),
    }))
    const distribution = distribute({ instances: instances(1, 1), routers: claims, turn })
    for (const [routerId, shares] of distribution) if (shares.size > 0) served.add(routerId)
    current = Object.fromEntries(distribution)
    t.equal(totals(distribution).d, 0)
  }
  t.same([...served].sort(), ['a', 'b', 'c', 'e'])
})

t.test('D5 demand that changes where slots are free moves nothing', async t => {
  const before = distribute({ instances: instances(8, 8), routers: routers({ a: 4, b: 4 }), turn: 0 })
  const claims = routers({ a: 7, b: 1 }, Object.fromEntries(before))
  t.same(distribute({ instances: instances(8, 8), routers: claims, turn: 1 }), before)
})

t.test('D5 a router that runs full gets more, from whoever has more than its due', async t => {
  const before = distribute({ instances: instances(8, 8), routers: routers({ a: 4, b: 4, c: 4 }), turn: 0 })
  const full = totals(before).a!
  const after = distribute({
    ...{ instances: instances(8, 8), turn: 0 },
    routers: routers({ a: full, b: 1, c: 1 }, Object.fromEntries(before)),
  })
  t.ok(totals(after).a! > full)
  t.ok(totals(after).b! >= 1)
})

t.test('D5 scarce slots move to a router that has none, or far too few; not for the last one', async t => {
  for (const [own, other, isMoved] of [
    [0, 8, true],
    [3, 5, false],
    [2, 6, true],
  ] as const) {
    const current = { a: new Map([['i0', other]]), ...(own > 0 && { b: new Map([['i0', own]]) }) }
    const after = distribute({ instances: instances(8), routers: routers({ a: 9, b: 9 }, current), turn: 0 })
    t.equal(totals(after).b, isMoved ? 4 : own, `${own} of 8`)
  }
})

t.test('D5 a new instance goes to those who lack most; nobody else is touched', async t => {
  const current = { a: new Map([['i0', 2]]), b: new Map([['i1', 2]]) }
  const after = distribute({ instances: instances(2, 2, 2), routers: routers({ a: 3, b: 2 }, current), turn: 0 })
  t.same(after.get('b'), new Map([['i1', 2]]))
  t.equal(totals(after).a, 4)
})

t.test('D6 slots in use are given up last', async t => {
  const current = new Map([
    ['i0', 2],
    ['i1', 2],
  ])
  const busy = new Map([
    ['i0', 2],
    ['i1', 1],
  ])
  const after = distribute({
    instances: instances(2, 2),
    routers: [
      { routerId: 'a', demand: 3, current, inUse: busy },
      { routerId: 'b', demand: 1, current: EMPTY, inUse: EMPTY },
    ],
    turn: 0,
  })
  t.same(
    after.get('a'),
    new Map([
      ['i0', 2],
      ['i1', 1],
    ]),
  )
  t.same(after.get('b'), new Map([['i1', 1]]))
})

t.test('D6 among unused slots, those of the least used instance go first', async t => {
  const current = new Map([
    ['i0', 2],
    ['i1', 3],
  ])
  const after = distribute({
    instances: instances(2, 3),
    routers: [
      { routerId: 'a', demand: 1, current, inUse: new Map([['i0', 1]]) },
      { routerId: 'b', demand: 1, current: EMPTY, inUse: EMPTY },
    ],
    turn: 0,
  })
  t.same(after.get('b'), new Map([['i1', 2]]))
})

t.test('D6 when an instance loses slots, unused ones go first', async t => {
  const after = distribute({
    instances: instances(2),
    routers: [
      { routerId: 'a', demand: 2, current: new Map([['i0', 2]]), inUse: EMPTY },
      { routerId: 'b', demand: 2, current: new Map([['i0', 2]]), inUse: new Map([['i0', 2]]) },
    ],
    turn: 0,
  })
  t.same(totals(after), { a: 1, b: 1 }, 'and then both get what is fair')
})

t.test('D7 a router is spread over all instances that have room', async t => {
  const distribution = distribute({ instances: instances(4, 4, 4, 4), routers: routers({ a: 0, b: 0 }), turn: 0 })
  t.same([...distribution.get('a')!.values()], [2, 2, 2, 2])
  t.same([...distribution.get('b')!.values()], [2, 2, 2, 2])
})

t.test('D1 D2 D3 D5 whatever is asked, all slots are dealt once and the promises hold', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.integer(), seed => {
        const prng = createPrng(seed)
        const parts = instances(...Array.from({ length: prng.below(6) }, () => prng.below(6)))
        const slots = parts.reduce((sum, part) => sum + part.slots, 0)
        let current: Record<string, Shares> = {}
        for (let round = 0; round < 6; round++) {
          const demands = Object.fromEntries(
            Array.from({ length: 1 + prng.below(5) }, (_, i) => [`r${i}`, prng.below(4) * prng.below(6)]),
          )
          const input = { instances: parts, routers: routers(demands, current), turn: round }
          const distribution = distribute(input)
          checkPromises(distribution, demands, parts, slots)
          const shuffled = distribute({ ...input, routers: [...input.routers].reverse() })
          for (const [routerId, shares] of distribution) {
            if (!sameShares(shares, shuffled.get(routerId)!)) throw new Error('the order of routers matters')
          }
          current = Object.fromEntries(distribution)
          const again = distribute({ ...input, routers: routers(demands, current) })
          for (const [routerId, shares] of distribution) {
            if (!sameShares(shares, again.get(routerId)!)) throw new Error('equal demand moves slots')
          }
        }
      }),
      { seed: 25, numRuns: 500 },
    ),
  )
})

function checkPromises(
  distribution: ReadonlyMap<string, Shares>,
  demands: Readonly<Record<string, number>>,
  parts: readonly { instanceId: string; slots: number }[],
  slots: number,
): void {
  for (const { instanceId, slots: whole } of parts) {
    let dealt = 0
    for (const shares of distribution.values()) dealt += shares.get(instanceId) ?? 0
    if (dealt !== whole) throw new Error(`${instanceId}: ${dealt} of ${whole} dealt`)
  }
  const asking = Object.values(demands).filter(demand => demand > 0).length
  const demanded = Object.values(demands).reduce((sum, demand) => sum + demand, 0)
  for (const [routerId, total] of Object.entries(totals(distribution))) {
    const demand = demands[routerId]!
    if (demanded <= slots && total < demand)
      throw new Error(`${routerId} gets ${total} and needs ${demand} of ${slots}`)
    if (slots >= asking && demand > 0 && total === 0) throw new Error(`${routerId} gets nothing`)
    if (slots < asking && slots > 1 && total === slots) throw new Error(`${routerId} has all`)
  }
}

function sameShares(a: Shares, b: Shares): boolean {
  return a.size === b.size && [...a].every(([id, slots]) => b.get(id) === slots)
}
