import { ExpectedRouters, type LedgerInstance, type RouterAssignment, SlotLedger } from '@waiter/slots'
import t from 'tap'

const NONE: ReadonlyMap<string, number> = new Map()

function instances(slotsById: Readonly<Record<string, number>>): LedgerInstance[] {
  return Object.entries(slotsById).map(([instanceId, slots]) => ({
    ...{ instanceId, slots, host: '127.0.0.1', port: 4000, startedAtMs: 1 },
  }))
}

/** `r1 v3: a=2 b=1` */
function brief(assignments: readonly RouterAssignment[]): string[] {
  return assignments.map(({ routerId, version, instances: list }) => {
    const shares = list.map(({ instanceId, slots }) => ` ${instanceId}=${slots}`).sort()
    return `${routerId} v${version}:${shares.join('')}`
  })
}

function ledgerOf(routers: readonly string[], slotsById: Readonly<Record<string, number>>): SlotLedger {
  const ledger = new SlotLedger()
  for (const routerId of routers) ledger.routerJoined(routerId)
  ledger.setInstances(instances(slotsById))
  return ledger
}

t.test('L2 a slot changes hands only after the old holder acknowledged and drained', async t => {
  const ledger = ledgerOf(['r1'], { a: 1 })
  t.same(brief(ledger.rebalance(0)), ['r1 v1: a=1'])
  ledger.ack('r1', 1, NONE)
  ledger.routerJoined('r2')
  ledger.setDemand('r2', 1)
  t.same(brief(ledger.rebalance(0)), ['r2 v2:', 'r1 v3:'])
  t.same(ledger.rebalance(0), [])
  ledger.ack('r1', 3, new Map([['a', 1]]))
  t.same(ledger.rebalance(0), [], 'r1 still has a request there')
  t.equal(ledger.inUse('a'), 1)
  ledger.ack('r1', 3, NONE)
  t.same(brief(ledger.rebalance(0)), ['r2 v4: a=1'])
  t.equal(ledger.heldSlots('a'), 1)
})

t.test('L2 an acknowledgement of an older version does not count', async t => {
  const ledger = ledgerOf(['r1'], { a: 1 })
  ledger.rebalance(0)
  ledger.routerJoined('r2')
  ledger.setDemand('r2', 1)
  ledger.rebalance(0)
  ledger.ack('r1', 1, NONE)
  t.same(ledger.rebalance(0), [])
  t.equal(ledger.heldSlots('a'), 1)
})

t.test('L4 an instance is released when all have acknowledged, drained, or died', async t => {
  const ledger = ledgerOf(['r1', 'r2', 'r3'], { a: 3 })
  for (const { routerId, version } of ledger.rebalance(0)) ledger.ack(routerId, version, NONE)
  t.equal(ledger.isReleased('a'), false)
  ledger.setInstances([])
  t.equal(ledger.isReleased('a'), false, 'nobody was told yet')
  const versions = new Map(ledger.rebalance(0).map(({ routerId, version }) => [routerId, version]))
  ledger.ack('r1', versions.get('r1')!, NONE)
  ledger.ack('r2', versions.get('r2')!, new Map([['a', 1]]))
  t.equal(ledger.isReleased('a'), false, 'r2 has a request there, r3 was not heard')
  ledger.ack('r2', versions.get('r2')!, NONE)
  t.equal(ledger.isReleased('a'), false)
  ledger.routerDead('r3')
  t.equal(ledger.isReleased('a'), true)
})

t.test('L5 a new leader leaves everybody what they have and waits for the missing', async t => {
  const expected = new ExpectedRouters()
  const ledger = new SlotLedger(expected)
  ledger.setInstances(instances({ a: 2, b: 2 }))
  expected.expect('r1')
  expected.expect('r2')
  ledger.routerJoined('r1', { slotsByInstance: new Map([['a', 2]]), inUseByInstance: new Map([['a', 1]]) })
  t.equal(expected.settle('r1'), false)
  ledger.setDemand('r1', 9)
  t.same(brief(ledger.rebalance(0)), ['r1 v1: a=2'], 'no slot of b: r2 may believe it has it')
  t.equal(ledger.isReleased('gone'), false, 'r2 may still use anything')
  ledger.routerDead('r2')
  t.equal(expected.settle('r2'), true)
  t.same(brief(ledger.rebalance(0)), ['r1 v2: a=2 b=2'])
  t.equal(ledger.isReleased('gone'), true)
})

t.test('L5 what nobody can have heard of before is handed out while routers are missing', async t => {
  const expected = new ExpectedRouters()
  const ledger = new SlotLedger(expected)
  expected.expect('r2')
  ledger.routerJoined('r1')
  ledger.setDemand('r1', 9)
  const [a, b] = instances({ a: 2, b: 2 })
  ledger.setInstances([a!, { ...b!, isFresh: true }])
  t.same(brief(ledger.rebalance(0)), ['r1 v1: b=2'])
  ledger.routerDead('r2')
  expected.settle('r2')
  t.same(brief(ledger.rebalance(0)), ['r1 v2: a=2 b=2'])
})

t.test('L5 what expected routers believe is kept in place', async t => {
  const expected = new ExpectedRouters()
  for (const routerId of ['r1', 'r2']) expected.expect(routerId)
  const ledger = new SlotLedger(expected)
  ledger.setInstances(instances({ a: 2, b: 2 }))
  ledger.routerJoined('r1', { slotsByInstance: new Map([['a', 2]]), inUseByInstance: NONE })
  ledger.routerJoined('r2', { slotsByInstance: new Map([['b', 2]]), inUseByInstance: NONE })
  for (const routerId of ['r1', 'r2']) expected.settle(routerId)
  t.same(brief(ledger.rebalance(0)), ['r1 v1: a=2', 'r2 v2: b=2'])
})

t.test('L5 who is not expected was given up: what it believes counts, and is not its own', async t => {
  const expected = new ExpectedRouters()
  const ledger = new SlotLedger(expected)
  ledger.setInstances(instances({ a: 1 }))
  expected.expect('heir')
  const belief = { slotsByInstance: new Map([['a', 1]]), inUseByInstance: NONE }
  ledger.routerJoined('lost', belief)
  ledger.setDemand('lost', 1)
  t.same(brief(ledger.rebalance(0)), ['lost v1:'], 'it lets go before its heir is heard')
  t.equal(ledger.heldSlots('a'), 1)
  ledger.ack('lost', 1, NONE)
  t.equal(ledger.heldSlots('a'), 0)
  ledger.routerJoined('heir', belief)
  expected.settle('heir')
  ledger.rebalance(0)
  t.equal(ledger.assignmentOf('lost')?.version, 1, 'there is nothing for it before its heir has let go')
  t.equal(ledger.heldSlots('a'), 1)
})

t.test('L5 what a router uses beyond its lease does not become one while others are missing', async t => {
  const expected = new ExpectedRouters()
  const ledger = new SlotLedger(expected)
  ledger.setInstances(instances({ a: 2 }))
  for (const routerId of ['lender', 'borrower']) expected.expect(routerId)
  ledger.routerJoined('borrower', { slotsByInstance: new Map([['a', 1]]), inUseByInstance: new Map([['a', 2]]) })
  expected.settle('borrower')
  ledger.setDemand('borrower', 9)
  t.same(brief(ledger.rebalance(0)), ['borrower v1: a=1'], 'the second one is the lender’s')
})

t.test('L1 who comes back from the dead does not get back what others have by now', async t => {
  const ledger = ledgerOf(['r1', 'r2'], { a: 1, b: 1 })
  ledger.setDemand('r1', 2)
  ledger.setDemand('r2', 2)
  for (const { routerId, version } of ledger.rebalance(0)) ledger.ack(routerId, version, NONE)
  const [lost, heir] = ledger.routerStates()[0]?.held['a'] === 1 ? ['r1', 'r2'] : ['r2', 'r1']
  ledger.routerDead(lost ?? '')
  const [all] = ledger.rebalance(0)
  t.same(brief(all === undefined ? [] : [all]), [`${heir} v3: a=1 b=1`])
  ledger.ack(heir ?? '', 3, NONE)
  ledger.routerJoined(lost ?? '', { slotsByInstance: new Map([['a', 1]]), inUseByInstance: NONE })
  ledger.setDemand(lost ?? '', 1)
  const back = ledger.rebalance(0).find(({ routerId }) => routerId === lost)
  t.same(back?.instances, [], 'it lets go of what it believes to have')
  t.ok(ledger.heldSlots('a') >= 2, 'until it has said so, both count')
})

t.test('L1 nor does he when he comes again and again, or was heard of before he came', async t => {
  const belief = { slotsByInstance: new Map([['a', 1]]), inUseByInstance: new Map([['a', 1]]) }
  for (const begin of [
    (ledger: SlotLedger) => ledger.routerJoined('lost', belief),
    (ledger: SlotLedger) => ledger.noteUse('lost', belief.inUseByInstance),
    (ledger: SlotLedger) => ledger.routerJoined('lost'),
  ]) {
    const ledger = ledgerOf(['lost'], { a: 1 })
    const [given] = ledger.rebalance(0)
    ledger.ack('lost', given?.version ?? 0, NONE)
    ledger.routerJoined('heir')
    ledger.setDemand('heir', 1)
    ledger.routerDead('lost')
    const heirs = ledger.rebalance(0).find(({ routerId }) => routerId === 'heir')
    t.equal(heirs?.instances.length, 1)
    begin(ledger)
    ledger.rebalance(0)
    ledger.routerJoined('lost', belief)
    ledger.setDemand('heir', 0)
    ledger.setDemand('lost', 1)
    const sent = ledger.rebalance(0).find(({ routerId }) => routerId === 'lost')
    t.same(sent?.instances, [], 'he is told that he has nothing')
    t.equal(ledger.heldSlots('a'), 2, 'and until he has said so, both count')
  }
})

t.test('L6 a router that joins gets an assignment, even an empty one', async t => {
  const ledger = new SlotLedger()
  ledger.routerJoined('r1')
  t.same(brief(ledger.rebalance(0)), ['r1 v1:'])
})

t.test('L7 only what changed is sent, be it slots, age or address', async t => {
  const ledger = ledgerOf(['r1'], { a: 2 })
  t.equal(ledger.rebalance(0).length, 1)
  ledger.setInstances(instances({ a: 2 }))
  ledger.setDemand('r1', 1)
  t.same(ledger.rebalance(0), [])
  ledger.setInstances([{ ...instances({ a: 2 })[0]!, expired: true }])
  t.match(ledger.rebalance(0), [{ version: 2, instances: [{ instanceId: 'a', slots: 2, expired: true }] }])
  ledger.setInstances([{ ...instances({ a: 2 })[0]!, expired: true, port: 4001 }])
  t.match(ledger.rebalance(0), [{ version: 3 }])
})

t.test('D5 when a busy router goes quiet, its slots go to the one that waits, within some turns', async t => {
  const ledger = ledgerOf(['r1', 'r2'], { a: 8 })
  let turn = 0
  const settle = (): number => {
    let sent = 0
    for (const last = turn + 10; turn < last; turn++)
      for (let round = 0; round < 2; round++)
        for (const { routerId, version } of ledger.rebalance(turn)) {
          ledger.ack(routerId, version, NONE)
          sent += 1
        }
    return sent
  }
  ledger.setDemand('r1', 20)
  ledger.setDemand('r2', 20)
  settle()
  t.equal(ledger.routerStates()[1]?.held.a, 4)
  ledger.setDemand('r1', 1)
  t.same(ledger.rebalance(turn - 1), [], 'not before the next turn: routers borrow meanwhile')
  settle()
  t.equal(ledger.routerStates()[1]?.held.a, 6, 'all but the last, which it may borrow as well')
  ledger.setDemand('r1', 0)
  ledger.setDemand('r2', 2)
  settle()
  t.equal(settle(), 0, 'now nobody needs anything')
})

/** Turns in which everything is acknowledged at once; who got slots in them. */
function runTurns(ledger: SlotLedger, from: number, count: number): Set<string> {
  const given = new Set<string>()
  for (let turn = from; turn < from + count; turn++)
    for (let round = 0; round < 2; round++)
      for (const { routerId, version, instances } of ledger.rebalance(turn)) {
        if (instances.length > 0) given.add(routerId)
        ledger.ack(routerId, version, NONE)
      }
  return given
}

t.test('D4 too few slots stay where they are while everybody begins requests, on whosever slots', async t => {
  const routers = ['r1', 'r2', 'r3']
  const ledger = ledgerOf(routers, { a: 1 })
  for (const routerId of routers) ledger.setDemand(routerId, 2, 0)
  runTurns(ledger, 0, 1)
  for (let turn = 1; turn < 60; turn++) {
    for (const routerId of routers) ledger.setDemand(routerId, 2, turn)
    t.same([...runTurns(ledger, turn, 1)], [])
  }
})

t.test('D4 a router that begins nothing for a whole round gets one of the few slots, each in its turn', async t => {
  const routers = ['r1', 'r2', 'r3', 'r4', 'r5']
  const ledger = ledgerOf(routers, { a: 1, b: 1 })
  for (const routerId of routers) ledger.setDemand(routerId, 2)
  const first = runTurns(ledger, 0, 10)
  t.equal(first.size, 2)
  const rest = runTurns(ledger, 10, 60)
  for (const routerId of routers) t.ok(first.has(routerId) || rest.has(routerId), routerId)
})

t.test('D4 one that asks only now and then does not starve', async t => {
  const ledger = ledgerOf(['r1', 'r2'], { a: 1 })
  ledger.setDemand('r1', 1, 0)
  runTurns(ledger, 0, 1)
  for (let turn = 1; turn < 40; turn++) {
    ledger.setDemand('r1', 1, turn)
    ledger.setDemand('r2', turn % 2, 0)
    t.same([...runTurns(ledger, turn, 1)], [])
  }
})

t.test('L5 while a lender has not been heard, what its borrower uses is no lease', async t => {
  const expected = new ExpectedRouters()
  for (const routerId of ['lender', 'borrower']) expected.expect(routerId)
  const ledger = new SlotLedger(expected)
  ledger.setInstances(instances({ a: 1 }))
  ledger.routerJoined('borrower', { slotsByInstance: NONE, inUseByInstance: new Map([['a', 1]]) })
  expected.settle('borrower')
  ledger.setDemand('borrower', 3)
  for (const turn of [0, 1, 2])
    for (const { routerId, version, instances: shares } of ledger.rebalance(turn)) {
      t.same(shares, [], 'the lender may be using the same slot next')
      ledger.ack(routerId, version, new Map([['a', 1]]))
    }
  ledger.routerJoined('lender', { slotsByInstance: new Map([['a', 1]]), inUseByInstance: NONE })
  expected.settle('lender')
  t.match(
    ledger.rebalance(3).filter(({ routerId }) => routerId === 'borrower'),
    [],
  )
})

t.test('L10 whoever is about to get slots is named before it has any', async t => {
  const ledger = ledgerOf(['r1', 'r2'], { a: 1 })
  ledger.setDemand('r1', 1)
  for (const { routerId, version } of ledger.rebalance(0)) ledger.ack(routerId, version, NONE)
  t.same(ledger.holderIds, ['r1'])
  ledger.setDemand('r1', 0)
  ledger.setDemand('r2', 4)
  let turn = 1
  while (ledger.rebalance(turn).length === 0 && turn < 20) turn += 1
  t.equal(ledger.heldSlots('a'), 1, 'r1 has not let go yet')
  t.equal(ledger.routerStates()[1]?.held.a, undefined)
  t.same(ledger.holderIds, ['r2'], 'nobody need ask r1 any more')
})

t.test('L8 news of unknown routers and of unknown versions is ignored', async t => {
  const ledger = ledgerOf(['r1'], { a: 2 })
  ledger.rebalance(0)
  ledger.setDemand('stranger', 5)
  ledger.routerDead('stranger')
  t.equal(ledger.ack('stranger', 1, NONE), false)
  t.equal(ledger.ack('r1', 77, NONE), false)
  t.equal(ledger.ack('r1', 1, NONE), false, 'nobody waits for anything')
  t.same(ledger.routerStates(), [
    { routerId: 'r1', isLeaving: false, demand: 0, ackedVersion: 1, sentVersion: 1, held: { a: 2 } },
  ])
})

t.test(
  'L8 an acknowledgement is news when somebody waits for what it frees, or an instance may be stopped',
  async t => {
    const ledger = ledgerOf(['r1'], { a: 1, b: 1 })
    ledger.setDemand('r1', 1)
    const [first] = ledger.rebalance(0)
    t.equal(ledger.ack('r1', first!.version, new Map([['a', 1]])), false)
    ledger.routerJoined('r2')
    ledger.setDemand('r2', 1)
    const moved = ledger.rebalance(0).find(({ routerId }) => routerId === 'r1')!
    t.equal(ledger.ack('r1', moved.version, new Map([['a', 1]])), true, 'r2 can have b')
    t.equal(ledger.rebalance(0).length, 1)
    ledger.setInstances(instances({ b: 1 }))
    const last = ledger.rebalance(0).find(({ routerId }) => routerId === 'r1')!
    t.equal(ledger.ack('r1', last.version, new Map([['a', 1]])), false, 'it runs a request there')
    t.equal(ledger.ack('r1', last.version, NONE), true)
    t.equal(ledger.isReleased('a'), true)
  },
)

t.test('L9 a silent router is not flooded and goes on where it left off', async t => {
  const ledger = ledgerOf(['r1'], { a: 1 })
  let sent: RouterAssignment[] = []
  for (let slots = 1; slots <= 50; slots++) {
    ledger.setInstances(instances({ a: slots }))
    sent = [...sent, ...ledger.rebalance(0)]
  }
  t.equal(sent.length, 8)
  ledger.ack('r1', sent.at(-1)!.version, NONE)
  t.same(brief(ledger.rebalance(0)), ['r1 v9: a=50'])
})

t.test('L11 a router that does not take part costs nothing and gets nothing', async t => {
  const ledger = ledgerOf(['r1'], { a: 2 })
  t.equal(ledger.has('r2'), false)
  t.same(brief(ledger.rebalance(0)), ['r1 v1: a=2'])
  t.equal(ledger.assignmentOf('r2'), undefined)
  t.same(ledger.holderIds, ['r1'])
})

t.test('L12 a router leaves in two steps', async t => {
  const ledger = ledgerOf(['r1', 'r2'], { a: 2 })
  for (const { routerId, version } of ledger.rebalance(0)) ledger.ack(routerId, version, NONE)
  ledger.routerLeaving('r2')
  t.same(ledger.takeLeft(), [], 'it was not told')
  t.same(brief(ledger.rebalance(0)), ['r2 v3:'])
  ledger.ack('r2', 3, new Map([['a', 1]]))
  t.same(ledger.takeLeft(), [], 'a request runs there')
  t.same(ledger.rebalance(0), [], 'its slot is not free')
  ledger.ack('r2', 3, NONE)
  t.same(brief(ledger.rebalance(0)), ['r1 v4: a=2'])
  t.same(ledger.takeLeft(), ['r2'])
  t.equal(ledger.has('r2'), false)
})

t.test('L12 a router that is asked again before it has left stays', async t => {
  const ledger = ledgerOf(['r1', 'r2'], { a: 2 })
  for (const { routerId, version } of ledger.rebalance(0)) ledger.ack(routerId, version, NONE)
  ledger.routerLeaving('r2')
  ledger.rebalance(0)
  ledger.routerStays('r2')
  ledger.setDemand('r1', 1)
  ledger.setDemand('r2', 1)
  ledger.ack('r2', 3, NONE)
  t.same(ledger.takeLeft(), [])
  t.same(brief(ledger.rebalance(1)), ['r2 v4: a=1'])
})

t.test('L13 who runs requests without taking part takes part', async t => {
  const ledger = ledgerOf(['r1'], { a: 1 })
  ledger.noteUse('r2', NONE)
  t.equal(ledger.has('r2'), false)
  ledger.noteUse('r2', new Map([['a', 1]]))
  ledger.routerDead('r1')
  t.equal(ledger.heldSlots('a'), 1, 'a request that its dead lender counted before')
  ledger.setInstances([])
  ledger.rebalance(0)
  t.equal(ledger.isReleased('a'), false)
})

t.test('L14 a router that drains gets nothing any more, unless all of them drain', async t => {
  const ledger = ledgerOf(['r1', 'r2'], { a: 1, b: 1 })
  const settle = (): Record<string, number> => {
    for (let turn = 0; turn < 10; turn++)
      for (const { routerId, version } of ledger.rebalance(turn)) ledger.ack(routerId, version, NONE)
    const held = ledger.routerStates().map(state => [state.routerId, Object.keys(state.held).length] as const)
    return Object.fromEntries(held)
  }
  t.same(settle(), { r1: 1, r2: 1 })
  ledger.routerDraining('r2')
  ledger.setDemand('r2', 2)
  t.same(settle(), { r1: 2, r2: 0 }, 'whatever it demands')
  ledger.routerDraining('r1')
  const held = settle()
  t.equal((held['r1'] ?? 0) + (held['r2'] ?? 0), 2, 'nobody else could serve')
  ledger.routerDraining('absent')
  t.same(Object.keys(settle()).sort(), ['r1', 'r2'])
  ledger.routerServing('r1')
  ledger.routerServing('r1')
  ledger.routerServing('absent')
  t.same(settle(), { r1: 2, r2: 0 }, 'one serves again')
})

t.test(
  'D5 among very many routers, demand moves slots every fourth turn; new instances are shared at once',
  async t => {
    const routers = Array.from({ length: 12 }, (_, index) => `r${index}`)
    const ledger = ledgerOf(routers, { a: 12 })
    for (const { routerId, version } of ledger.rebalance(4)) ledger.ack(routerId, version, NONE)
    ledger.setDemand('r0', 5)
    t.same(
      [5, 6, 7].flatMap(turn => ledger.rebalance(turn)),
      [],
    )
    t.not(ledger.rebalance(8).length, 0)
    ledger.setInstances(instances({ a: 12, b: 3 }))
    t.not(ledger.rebalance(9).length, 0)
  },
)
