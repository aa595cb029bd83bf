import { SlotLedger } from '@waiter/slots'
import t from 'tap'
import { Followers } from '../src/leader/followers.ts'
import { LenderLists } from '../src/leader/lender-lists.ts'

function world(routers: number, slots: number): { ledger: SlotLedger; followers: Followers; lists: LenderLists } {
  const ledger = new SlotLedger()
  const followers = new Followers()
  for (let index = 0; index < routers; index++) {
    const routerId = `r${String(index).padStart(2, '0')}`
    ledger.routerJoined(routerId)
    ledger.setDemand(routerId, index < slots ? 1 : 0)
    followers.note(routerId, 0)
  }
  ledger.setInstances([{ instanceId: 'a', host: 'h', port: 1, slots, startedAtMs: 1 }])
  for (const { routerId, version } of ledger.rebalance(0)) ledger.ack(routerId, version, new Map())
  return { ledger, followers, lists: new LenderLists(ledger, followers) }
}

t.test('L10 few holders: everybody hears of each at once', async t => {
  const { ledger, lists } = world(3, 2)
  t.equal(lists.dueMs, 0)
  t.same(lists.observe(1_000), ['r00', 'r01', 'r02'])
  t.same([lists.of('r00'), lists.of('r01'), lists.of('r02')], [['r01'], ['r00'], ['r00', 'r01']])
  t.equal(lists.dueMs, Number.POSITIVE_INFINITY)
  t.same(lists.observe(1_001), [])
  ledger.routerDead('r01')
  t.same(lists.observe(1_002), ['r00', 'r02'])
  t.same(lists.of('stranger'), [])
})

t.test('P12 very many holders are looked at once a second; who comes is told at once', async t => {
  const { ledger, followers, lists } = world(20, 20)
  t.equal(lists.observe(1_000).length, 20)
  const [first] = lists.of('r00')
  ledger.routerDead(first!)
  ledger.routerJoined('r99')
  followers.note('r99', 0)
  t.equal(lists.dueMs, 2_000)
  t.same(lists.observe(1_500), ['r99'])
  t.equal(lists.of('r99').length, 8)
  for (const routerId of lists.of('r00').slice(1, 6)) ledger.routerDead(routerId)
  t.same(lists.observe(1_999), [], 'not yet')
  t.ok(lists.observe(2_000).includes('r00'))
  t.equal(lists.of('r00').includes(first!), false)
  lists.drop('r00')
  t.same(lists.of('r00'), [])
})
