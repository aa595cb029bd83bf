import { createPrng } from '@waiter/base'
import {
  BorrowedSlot,
  chooseLenders,
  DEFAULT_EJECTION,
  KEEPS_MAX,
  LENDERS_MAX,
  NEED_WAITERS_MAX,
  ReservationMachine,
  type SharedService,
  type Slot,
  SlotBorrower,
  type SlotGrant,
  SlotLender,
  Waiter,
} from '@waiter/slots'
import t from 'tap'

const SERVICE = 's'

class Request extends Waiter {
  slot: Slot | undefined
  granted(slot: Slot): void {
    this.slot = slot
  }
  failed(): void {}
}

/** One router at a time of the test's choosing; what it sends lies there until the test carries it over. */
class Router implements SharedService {
  nowMs = 1_000
  readonly machine = new ReservationMachine({
    loadBalancing: 'oldest',
    concurrencyLevel: 4,
    ejection: DEFAULT_EJECTION,
    maxQueueLength: 100,
    prng: createPrng(1),
  })
  readonly sent: { readonly borrowerId: string; readonly grant: SlotGrant }[] = []
  isKnown = true
  isAskedFor = true
  readonly lender: SlotLender = new SlotLender({
    find: () => (this.isKnown ? this : undefined),
    nowMs: () => this.nowMs,
    send: (borrowerId, grant) => this.sent.push({ borrowerId, grant }),
  })
  readonly borrower: SlotBorrower = new SlotBorrower({
    find: () => this,
    nowMs: () => this.nowMs,
    onNews: () => undefined,
  })

  constructor(slots: number) {
    this.assign(slots)
    this.borrower.setLenders(SERVICE, ['lender'])
  }

  assign(slots: number): void {
    const instance = { instanceId: 'i', host: 'h', port: 1, startedAtMs: 1 }
    this.machine.update(slots === 0 ? [] : [{ ...instance, slots }], this.nowMs)
  }

  wait(sinceMs: number, priority = 0, flow = 0, deadlineMs = Number.POSITIVE_INFINITY): Request {
    const request = new Request()
    this.machine.enqueue(request, deadlineMs, priority, sinceMs, flow)
    this.borrower.noteQueue(SERVICE)
    return request
  }

  release(slot: Slot | undefined, status: 'success' | 'instance-error' | 'success-async' = 'success'): void {
    if (slot instanceof BorrowedSlot) this.borrower.release(slot, status)
    else if (slot !== undefined) this.giveBack(slot, status)
  }

  lend({ instanceId, host, port, startedAtMs }: Slot): ReturnType<SharedService['lend']> {
    return { instanceId, host, port, startedAtMs, extraPorts: [], logDirectory: null }
  }

  giveBack(slot: Slot, status: Parameters<SharedService['giveBack']>[1]): void {
    this.machine.release(slot, status, this.nowMs)
  }

  adopt(instance: Parameters<SharedService['adopt']>[0]): Slot {
    return this.machine.adopt(instance)
  }

  connect(lender: Router): void {
    lender.lender.connected('borrower', this.borrower.connected('lender'))
  }

  /** Everything that the borrower has to say arrives. */
  tell(lender: Router): void {
    const news = this.borrower.collect(() => {
      this.connect(lender)
      return true
    })
    for (const { needs, returns } of news.values()) {
      for (const need of needs) lender.lender.need('borrower', need)
      for (const back of returns) lender.lender.returned('borrower', back)
    }
  }

  /** Everything that the lender has granted arrives. */
  take(lender: Router): void {
    for (const { grant } of lender.sent.splice(0)) this.borrower.granted('lender', grant)
  }
}

function pair(slots = 1): { lender: Router; borrower: Router } {
  return { lender: new Router(slots), borrower: new Router(0) }
}

t.test('P5 a free slot is lent at once, is in use at the lender, and comes back with its status', async t => {
  const { lender, borrower } = pair()
  const request = borrower.wait(990)
  borrower.tell(lender)
  t.equal(lender.machine.slotsInUse, 1)
  borrower.take(lender)
  t.equal(request.slot?.instanceId, 'i')
  t.equal(borrower.machine.slotsInUse, 0)
  t.same(lender.lender.uses(), [{ routerId: 'borrower', serviceId: SERVICE, instanceId: 'i' }])
  borrower.release(request.slot, 'success-async')
  borrower.tell(lender)
  t.equal(lender.machine.slotsInUse, 1, 'an asynchronous request keeps it')
  borrower.release(request.slot, 'instance-error')
  borrower.tell(lender)
  t.equal(lender.machine.slotsInUse, 0)
  t.same(lender.machine.counts().ejectedInstanceIds, ['i'], 'as if it had been our own')
})

t.test('P3 the one line goes by age, our own first within 20 ms, and by priority before all', async t => {
  for (const [own, foreign, isForeignFirst] of [
    [{ sinceMs: 900, priority: 0 }, { sinceMs: 800, priority: 0 }, true],
    [{ sinceMs: 900, priority: 0 }, { sinceMs: 880, priority: 0 }, false],
    [{ sinceMs: 900, priority: 0 }, { sinceMs: 879, priority: 0 }, true],
    [{ sinceMs: 800, priority: 0 }, { sinceMs: 900, priority: 0 }, false],
    [{ sinceMs: 800, priority: 0 }, { sinceMs: 900, priority: 1 }, true],
    [{ sinceMs: 900, priority: 1 }, { sinceMs: 800, priority: 0 }, false],
  ] as const) {
    const { lender, borrower } = pair()
    const running = lender.machine.reserve(lender.nowMs)
    const ownRequest = lender.wait(own.sinceMs, own.priority)
    borrower.wait(foreign.sinceMs, foreign.priority)
    borrower.tell(lender)
    lender.release(running)
    t.equal(lender.sent.length === 1, isForeignFirst, JSON.stringify({ own, foreign }))
    t.equal(ownRequest.slot === undefined, isForeignFirst)
  }
})

t.test('P3 tokens take turns in the one line, wherever their requests wait', async t => {
  const { lender, borrower } = pair()
  let running = lender.machine.reserve(lender.nowMs)
  const flood = [800, 801, 802].map(sinceMs => lender.wait(sinceMs, 0, 1))
  borrower.wait(900, 0, 2)
  borrower.tell(lender)
  lender.release(running)
  running = flood[0]?.slot
  t.ok(running, 'who has waited longest begins the round')
  lender.release(running)
  t.equal(lender.sent.length, 1, 'then the other token, though its request came later')
  t.equal(flood[1]?.slot, undefined)
})

t.test('P14 a lender knows when a request of another router gives up, and lends nothing to it then', async t => {
  const { lender, borrower } = pair()
  const running = lender.machine.reserve(lender.nowMs)
  borrower.wait(990, 0, 0, 1_200)
  borrower.wait(991, 0, 0, 1_300)
  borrower.tell(lender)
  t.equal(lender.machine.waitingForeign, 2)
  lender.nowMs = 1_200
  lender.release(running)
  t.equal(lender.sent.length, 1)
  t.equal(lender.machine.waitingForeign, 0)
})

t.test('P14 a slot that arrives after the deadline goes to somebody else, or back', async t => {
  const { lender, borrower } = pair()
  const late = borrower.wait(990, 0, 0, 1_200)
  borrower.tell(lender)
  borrower.nowMs = 1_200
  borrower.take(lender)
  t.equal(late.slot, undefined)
  borrower.tell(lender)
  t.equal(lender.machine.slotsInUse, 0)
})

t.test('R2 while somebody of another router waits, nobody overtakes', async t => {
  const { lender, borrower } = pair()
  const running = lender.machine.reserve(lender.nowMs)
  borrower.wait(990)
  borrower.tell(lender)
  t.equal(lender.machine.waitingForeign, 1)
  t.equal(lender.machine.reserve(lender.nowMs), undefined)
  lender.release(running)
  t.equal(lender.sent.length, 1)
})

t.test('P4 a need that crosses a grant does not ask for the same request again', async t => {
  const { lender, borrower } = pair(2)
  borrower.wait(980)
  borrower.tell(lender)
  borrower.wait(990)
  borrower.tell(lender)
  t.equal(lender.sent.length, 2, 'one for each, though the second need names both')
  borrower.take(lender)
  t.equal(borrower.machine.waiting, 0)
  t.equal(lender.machine.waitingForeign, 0)
})

t.test('P15 who knows the next two of a borrower is not told of each that joins behind them', async t => {
  const { lender, borrower } = pair()
  const running = lender.machine.reserve(lender.nowMs)
  const [first] = [980, 985, 990, 995].map(sinceMs => {
    const request = borrower.wait(sinceMs)
    borrower.tell(lender)
    return request
  })
  t.equal(lender.machine.waitingForeign, 2)
  lender.release(running)
  borrower.take(lender)
  t.ok(first?.slot)
  borrower.tell(lender)
  t.equal(lender.machine.waitingForeign, 3, 'one of the two is served: now it hears of all')
  const urgent = borrower.wait(999, 1)
  borrower.tell(lender)
  t.equal(lender.machine.waitingForeign, 4, 'and of one that goes before them')
  borrower.machine.cancel(urgent)
  borrower.borrower.noteQueue(SERVICE)
  borrower.tell(lender)
  t.equal(lender.machine.waitingForeign, 3, 'and of one that leaves')
})

t.test('P4 who got a slot elsewhere is withdrawn', async t => {
  const { lender, borrower } = pair()
  const running = lender.machine.reserve(lender.nowMs)
  const request = borrower.wait(990)
  borrower.tell(lender)
  borrower.machine.cancel(request)
  borrower.borrower.noteQueue(SERVICE)
  borrower.tell(lender)
  t.equal(lender.machine.waitingForeign, 0)
  lender.release(running)
  t.same(lender.sent, [])
})

t.test('P6 a need is heard before the lender knows the service', async t => {
  const { lender, borrower } = pair()
  lender.isKnown = false
  borrower.wait(990)
  borrower.tell(lender)
  t.same(lender.sent, [])
  lender.isKnown = true
  lender.lender.serviceOpened(SERVICE)
  t.equal(lender.sent.length, 1)
})

t.test('P7 a slot is for whoever is next when it arrives; for nobody, it goes back at once', async t => {
  const { lender, borrower } = pair()
  const first = borrower.wait(980)
  const second = borrower.wait(990)
  borrower.tell(lender)
  borrower.machine.cancel(first)
  borrower.take(lender)
  t.equal(second.slot?.instanceId, 'i')
  t.equal(first.slot, undefined)

  const other = pair()
  const gone = other.borrower.wait(980)
  other.borrower.tell(other.lender)
  other.borrower.machine.cancel(gone)
  other.borrower.take(other.lender)
  t.equal(other.lender.machine.slotsInUse, 1)
  other.borrower.tell(other.lender)
  t.equal(other.lender.machine.slotsInUse, 0)
  t.equal(other.borrower.borrower.borrowedInVain, 1)
})

t.test('P8 after a break, what runs stays counted at both, and nothing new begins on it', async t => {
  const { lender, borrower } = pair()
  const first = borrower.wait(980)
  const second = borrower.wait(981)
  borrower.tell(lender)
  borrower.take(lender)
  borrower.borrower.lost('lender')
  lender.lender.lost('borrower')
  t.equal(borrower.machine.slotsInUse, 1, 'adopted')
  t.equal(lender.machine.slotsInUse, 1)
  t.same(borrower.machine.inUseByInstance(), new Map([['i', 1]]))
  borrower.release(first.slot)
  t.equal(second.slot, undefined, 'though it has waited longest')
  t.equal(borrower.machine.slotsInUse, 0)
  t.equal(lender.machine.slotsInUse, 1, 'nobody has told the lender')
  borrower.borrower.noteQueue(SERVICE)
  borrower.tell(lender)
  t.equal(lender.sent.length, 1, 'the borrower came again without it: free, and lent anew')
})

t.test('P8 a grant that was lost with its stream is free when the borrower comes again', async t => {
  const { lender, borrower } = pair()
  borrower.wait(980)
  borrower.tell(lender)
  lender.sent.length = 0
  borrower.borrower.lost('lender')
  lender.lender.lost('borrower')
  t.equal(lender.machine.slotsInUse, 1)
  borrower.connect(lender)
  t.equal(lender.machine.slotsInUse, 0)
})

t.test('P8 a dead borrower uses nothing; of a dead lender, what runs is counted here alone', async t => {
  const { lender, borrower } = pair()
  const request = borrower.wait(980)
  borrower.tell(lender)
  borrower.take(lender)
  lender.lender.gone('borrower')
  t.equal(lender.machine.slotsInUse, 0)
  borrower.borrower.dead('lender')
  t.equal(borrower.machine.slotsInUse, 1)
  borrower.release(request.slot)
  t.equal(borrower.machine.slotsInUse, 0)
  t.same(borrower.borrower.uses(), [])
})

t.test('P8 a lender that was given up and lives hears, when it is back, what still runs on its slots', async t => {
  const { lender, borrower } = pair()
  const request = borrower.wait(980)
  borrower.tell(lender)
  borrower.take(lender)
  borrower.borrower.dead('lender')
  lender.lender.lost('borrower')
  t.same(borrower.borrower.lenderIds, [], 'nobody need wait for it')
  borrower.connect(lender)
  t.equal(lender.machine.slotsInUse, 1, 'it lends it to nobody else')
  t.equal(borrower.machine.slotsInUse, 1, 'and both count it')
  borrower.release(request.slot)
  borrower.tell(lender)
  t.equal(lender.machine.slotsInUse, 0)
  t.equal(borrower.machine.slotsInUse, 0)
})

t.test('P8 an adopted request takes the place of one on a slot of our own', async t => {
  const { lender, borrower } = pair()
  borrower.wait(980)
  borrower.tell(lender)
  borrower.take(lender)
  borrower.assign(1)
  t.equal(borrower.machine.slotsAvailable, 1)
  borrower.borrower.adoptAll()
  t.equal(borrower.machine.slotsAvailable, 0)
  t.equal(borrower.machine.reserve(borrower.nowMs), undefined)
})

t.test('P9 a slot is kept for the next one here only if nobody else has waited longer by 20 ms', async t => {
  for (const [others, mine, isKept] of [
    [undefined, 985, true],
    [undefined, 1_020, true],
    [undefined, 1_021, false],
    [965, 985, true],
    [964, 985, false],
  ] as const) {
    const { lender, borrower } = pair()
    const running = lender.machine.reserve(lender.nowMs)
    const first = borrower.wait(900)
    borrower.tell(lender)
    if (others !== undefined) lender.wait(others)
    lender.release(running)
    borrower.take(lender)
    const second = borrower.wait(mine)
    borrower.release(first.slot)
    t.equal(second.slot !== undefined, isKept, JSON.stringify({ others, mine }))
  }
})

t.test('P9 while a request of another token waits, a slot goes back after each request', async t => {
  const { lender, borrower } = pair()
  const running = lender.machine.reserve(lender.nowMs)
  const first = borrower.wait(900, 0, 1)
  const second = borrower.wait(901, 0, 1)
  borrower.tell(lender)
  lender.wait(990, 0, 2)
  lender.release(running)
  borrower.take(lender)
  t.ok(first.slot)
  borrower.release(first.slot)
  t.equal(second.slot, undefined, 'though it has waited longer')
})

t.test('P9 a slot is kept for a few requests only: others may have come meanwhile', async t => {
  const { lender, borrower } = pair()
  const requests = Array.from({ length: 2 * KEEPS_MAX }, (_, index) => borrower.wait(900 + index))
  borrower.tell(lender)
  borrower.take(lender)
  const isDone = new Set<Request>()
  for (;;) {
    const running = requests.find(request => request.slot !== undefined && !isDone.has(request))
    if (running === undefined) break
    isDone.add(running)
    borrower.release(running.slot)
  }
  t.equal(isDone.size, KEEPS_MAX + 1)
})

t.test('P9 after an error the slot goes back', async t => {
  const { lender, borrower } = pair()
  const first = borrower.wait(900)
  const second = borrower.wait(901)
  borrower.tell(lender)
  borrower.take(lender)
  borrower.release(first.slot, 'instance-error')
  t.equal(second.slot, undefined)
})

t.test('P13 a stream is opened when the service is asked for, not when somebody waits', async t => {
  const { borrower } = pair()
  const opened: string[] = []
  const open = (lenderId: string): boolean => {
    opened.push(lenderId)
    borrower.borrower.connected(lenderId)
    return true
  }
  borrower.isAskedFor = false
  borrower.borrower.setLenders(SERVICE, ['lender', 'other'])
  t.equal(borrower.borrower.collect(open).size, 0)
  t.same(opened, [], 'nobody here uses that service')
  borrower.isAskedFor = true
  borrower.borrower.noteQueue(SERVICE)
  t.equal(borrower.borrower.collect(open).size, 0, 'nothing to say yet')
  t.same(opened, ['lender', 'other'])
})

t.test('P12 at most so many waiters are told, and so many lenders asked, not the same by all', async t => {
  const { lender, borrower } = pair()
  lender.machine.reserve(lender.nowMs)
  for (let count = 0; count < 3 * NEED_WAITERS_MAX; count++) borrower.wait(900 + count)
  borrower.tell(lender)
  t.equal(lender.machine.waitingForeign, NEED_WAITERS_MAX)

  const routers = Array.from({ length: 40 }, (_, index) => `r${index}`)
  const chosen = routers.map(id => chooseLenders(routers, id))
  for (const [index, lenders] of chosen.entries()) {
    t.equal(new Set(lenders).size, LENDERS_MAX)
    t.notOk(lenders.includes(routers[index]!))
  }
  t.ok(new Set(chosen.flat()).size > 2 * LENDERS_MAX)
  t.same(chooseLenders(['a', 'b', 'c'], 'b'), ['a', 'c'])

  const before = chooseLenders(routers, 'r0')
  const few = routers.filter(id => !before.slice(0, LENDERS_MAX / 2).includes(id))
  t.equal(chooseLenders(few, 'r0', before), before, 'half of them still have some')
  const fewer = routers.filter(id => !before.slice(0, LENDERS_MAX / 2 + 1).includes(id))
  const after = chooseLenders(fewer, 'r0', before)
  t.equal(new Set(after).size, LENDERS_MAX)
  t.ok(
    before.slice(LENDERS_MAX / 2 + 1).every(id => after.includes(id)),
    'those that do stay',
  )
  t.ok(after.every(id => fewer.includes(id)))
  const three = ['a', 'c']
  t.equal(chooseLenders(['a', 'b', 'c'], 'b', three), three)
})
