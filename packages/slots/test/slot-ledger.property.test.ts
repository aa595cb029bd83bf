import { createPrng, type Prng } from '@waiter/base'
import { ExpectedRouters, type LedgerInstance, type RouterAssignment, type Shares, SlotLedger } from '@waiter/slots'
import fc from 'fast-check'
import t from 'tap'

/** A router of the model: works from the last assignment it got, and uses slots at random. */
class ModelRouter {
  shares = new Map<string, number>()
  inUse = new Map<string, number>()
  version = 0
  readonly inbox: RouterAssignment[] = []
  /** Acknowledgements under way to the leader, in order. */
  readonly outbox: { version: number; inUse: Map<string, number> }[] = []

  receive(): void {
    const assignment = this.inbox.shift()
    if (assignment === undefined) return
    this.shares = new Map(assignment.instances.map(instance => [instance.instanceId, instance.slots]))
    this.version = assignment.version
    this.acknowledge()
  }

  acknowledge(): void {
    this.outbox.push({ version: this.version, inUse: new Map(this.inUse) })
  }

  start(prng: Prng): void {
    const open = [...this.shares].filter(([id, slots]) => (this.inUse.get(id) ?? 0) < slots)
    const chosen = open[prng.below(open.length || 1)]
    if (chosen !== undefined) this.inUse.set(chosen[0], (this.inUse.get(chosen[0]) ?? 0) + 1)
  }

  finish(prng: Prng): void {
    const used = [...this.inUse.keys()]
    const id = used[prng.below(used.length || 1)]
    if (id === undefined) return
    const left = this.inUse.get(id)! - 1
    if (left === 0) this.inUse.delete(id)
    else this.inUse.set(id, left)
    if (left >= (this.shares.get(id) ?? 0)) this.acknowledge()
  }
}

class Cluster {
  readonly prng: Prng
  expected = new ExpectedRouters()
  ledger = new SlotLedger(this.expected)
  /** Routers that are to take part no more. */
  readonly leaving = new Set<string>()
  left = 0
  readonly routers = new Map<string, ModelRouter>()
  readonly unheard = new Set<string>()
  readonly instances = new Map<string, LedgerInstance>()
  readonly everSlots = new Map<string, number>()
  lastRouter = 0
  lastInstance = 0
  turn = 0
  sent = 0
  releases = 0
  adopted = 0

  constructor(seed: number) {
    this.prng = createPrng(seed)
  }

  any<K, V>(map: ReadonlyMap<K, V>): [K, V] | undefined {
    return [...map][this.prng.below(map.size || 1)]
  }

  step(): void {
    const { prng, ledger, routers } = this
    const [id, router] = this.any(routers) ?? []
    const choice = prng.below(43)
    if (choice < 8) router?.receive()
    else if (choice < 14 && id !== undefined) this.deliverAck(id, router!)
    else if (choice < 20) router?.start(prng)
    else if (choice < 25) router?.finish(prng)
    else if (choice < 29 && id !== undefined) ledger.setDemand(id, prng.below(4) === 0 ? 0 : prng.below(12))
    else if (choice < 34) this.rebalance(prng.below(3) === 0)
    else if (choice === 34) this.join()
    else if (choice === 35 && id !== undefined && prng.below(3) === 0) this.die(id)
    else if (choice < 38) this.changeInstances()
    else if (choice === 38 && prng.below(6) === 0) this.changeLeader()
    else if (choice === 39) this.reattach()
    else if (choice === 40 && id !== undefined) this.leave(id)
    else if (choice === 41 && id !== undefined) this.follow(id)
    else if (choice === 42 && prng.below(2) === 0) this.adopt()
  }

  leave(id: string): void {
    if (this.unheard.has(id)) return
    this.leaving.add(id)
    this.ledger.routerLeaving(id)
  }

  /** It is asked for the service (again). */
  follow(id: string): void {
    if (this.unheard.has(id)) return
    this.leaving.delete(id)
    if (this.ledger.has(id)) this.ledger.routerStays(id)
    else this.ledger.routerJoined(id)
  }

  /**
   * A lender dies while a borrower, which may take part or not, runs a request on its slot. The borrower counts it as its
   * own and says so before the lender counts as dead (P10), with whatever version it works from.
   */
  adopt(): void {
    const lenders = [...this.routers].filter(([id, { inUse }]) => !this.unheard.has(id) && inUse.size > 0)
    const [lenderId, lender] = lenders[this.prng.below(lenders.length || 1)] ?? []
    const heirs = [...this.routers].filter(([id]) => id !== lenderId && !this.unheard.has(id))
    const [heirId, heir] = heirs[this.prng.below(heirs.length || 1)] ?? []
    if (lender === undefined || lenderId === undefined || heir === undefined || heirId === undefined) return
    const [instanceId, count] = this.any(lender.inUse)!
    // Until the lender is buried both count it.
    while (heir.outbox.length > 0) this.deliverAck(heirId, heir)
    heir.inUse.set(instanceId, (heir.inUse.get(instanceId) ?? 0) + count)
    heir.acknowledge()
    while (heir.outbox.length > 0) this.deliverAck(heirId, heir)
    this.adopted++
    this.die(lenderId)
  }

  deliverAck(id: string, router: ModelRouter): void {
    const ack = router.outbox.shift()
    if (ack === undefined) return
    // The session knows which version a router works from; a router that was sent none works from nothing.
    if (ack.version === 0 || !this.ledger.has(id)) this.ledger.noteUse(id, ack.inUse)
    else this.ledger.ack(id, ack.version, ack.inUse)
  }

  rebalance(isTurnOver: boolean): void {
    if (isTurnOver) this.turn++
    for (const assignment of this.ledger.rebalance(this.turn)) {
      this.sent++
      this.routers.get(assignment.routerId)!.inbox.push(assignment)
    }
    for (const id of this.ledger.takeLeft()) {
      this.left++
      const router = this.routers.get(id)!
      if (router.shares.size > 0) throw new Error(`${id} has left, and has slots`)
      if (router.inbox.length > 0) throw new Error(`${id} has left, and is about to be told of slots`)
      router.version = 0
    }
  }

  join(): void {
    if (this.routers.size >= 5) return
    const id = `r${++this.lastRouter}`
    this.routers.set(id, new ModelRouter())
    this.ledger.routerJoined(id)
  }

  die(id: string): void {
    this.routers.delete(id)
    this.unheard.delete(id)
    this.leaving.delete(id)
    this.ledger.routerDead(id)
    this.expected.settle(id)
  }

  changeInstances(): void {
    const doomed = this.any(this.instances)?.[0]
    if (doomed !== undefined && this.prng.below(2) === 0) this.instances.delete(doomed)
    else if (this.instances.size < 5) {
      const instanceId = `i${++this.lastInstance}`
      const slots = 1 + this.prng.below(4)
      this.instances.set(instanceId, { instanceId, host: 'h', port: 1, slots, startedAtMs: this.lastInstance })
      this.everSlots.set(instanceId, slots)
    }
    this.ledger.setInstances([...this.instances.values()])
  }

  /** All streams break; a new leader knows who lives, and nothing of what they believe. */
  changeLeader(): void {
    this.expected = new ExpectedRouters()
    this.ledger = new SlotLedger(this.expected)
    this.leaving.clear()
    for (const [id, router] of this.routers) {
      router.inbox.length = 0
      router.outbox.length = 0
      this.expected.expect(id)
      this.unheard.add(id)
    }
    this.ledger.setInstances([...this.instances.values()])
  }

  reattach(): void {
    const id = this.unheard.size > 0 ? [...this.unheard][0]! : this.any(this.routers)?.[0]
    if (id === undefined) return
    const router = this.routers.get(id)!
    router.inbox.length = 0
    router.outbox.length = 0
    router.version = 0
    this.unheard.delete(id)
    this.leaving.delete(id)
    this.ledger.routerJoined(id, { slotsByInstance: new Map(router.shares), inUseByInstance: new Map(router.inUse) })
    this.expected.settle(id)
  }

  check(): void {
    for (const [instanceId, slots] of this.everSlots) {
      let believed = 0
      let reachable = 0
      for (const { shares, inUse, inbox } of this.routers.values()) {
        believed += Math.max(shares.get(instanceId) ?? 0, inUse.get(instanceId) ?? 0)
        reachable += (shares.get(instanceId) ?? 0) + (inUse.get(instanceId) ?? 0)
        for (const message of inbox) reachable += message.instances.some(i => i.instanceId === instanceId) ? 1 : 0
      }
      if (believed > slots) throw new Error(`${instanceId} has ${slots} slots, and ${believed} are believed in`)
      if (!this.ledger.isReleased(instanceId)) continue
      this.releases++
      if (reachable > 0) throw new Error(`${instanceId} is released, and ${reachable} can still reach it`)
    }
  }

  /** Delivers everything until nothing moves any more. */
  settle(finishRequests: boolean): void {
    while (this.unheard.size > 0) this.reattach()
    // Somebody takes part, so that everything can be leased.
    for (const id of this.routers.keys()) if (!this.leaving.has(id)) this.follow(id)
    if (this.leaving.size === this.routers.size) for (const id of this.routers.keys()) this.follow(id)
    for (let round = 0; round < 100; round++) {
      this.rebalance(false)
      for (const [id, router] of this.routers) {
        while (finishRequests && router.inUse.size > 0) router.finish(this.prng)
        while (router.inbox.length > 0) router.receive()
        while (router.outbox.length > 0) this.deliverAck(id, router)
      }
      this.check()
    }
  }
}

t.test(
  'L1 L2 L4 L12 L13 no interleaving of delays, joins, leaves, deaths and new leaders over-subscribes or kills too early',
  async t => {
    let sent = 0
    let releases = 0
    let adopted = 0
    let left = 0
    fc.assert(
      fc.property(fc.integer(), seed => {
        const cluster = new Cluster(seed)
        for (let step = 0; step < 400; step++) {
          cluster.step()
          cluster.check()
        }
        sent += cluster.sent
        releases += cluster.releases
        adopted += cluster.adopted
        left += cluster.left
      }),
      { seed: 22, numRuns: 250 },
    )
    t.ok(sent > 5000, `${sent} assignments were sent`)
    t.ok(releases > 10_000, `${releases} times an instance was seen released`)
    t.ok(adopted > 100, `${adopted} times a request outlived its lender`)
    t.ok(left > 200, `${left} times a router took part no more`)
  },
)

t.test(
  'L3 L4 when everything is delivered and done, all slots are leased and all removed instances released',
  async t => {
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(fc.integer(), seed => {
          const cluster = new Cluster(seed)
          cluster.join()
          for (let step = 0; step < 200; step++) cluster.step()
          if (cluster.routers.size === 0) cluster.join()
          cluster.settle(true)
          for (const [instanceId, slots] of cluster.everSlots) {
            const isAlive = cluster.instances.has(instanceId)
            const held = [...cluster.routers.values()].reduce(
              (sum, { shares }) => sum + (shares.get(instanceId) ?? 0),
              0,
            )
            if (held !== (isAlive ? slots : 0)) throw new Error(`${instanceId}: ${held} of ${slots} slots are leased`)
            if (cluster.ledger.isReleased(instanceId) === isAlive)
              throw new Error(`${instanceId} released: ${!isAlive}?`)
          }
        }),
        { seed: 23, numRuns: 150 },
      ),
    )
  },
)

t.test('L3 with demand that stays, nothing is sent any more', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.integer(), seed => {
        const cluster = new Cluster(seed)
        for (let step = 0; step < 200; step++) cluster.step()
        cluster.settle(true)
        const sent = cluster.ledger.rebalance(cluster.turn)
        const shares: Shares[] = [...cluster.routers.values()].map(router => router.shares)
        if (sent.length > 0) throw new Error(`${sent.length} more assignments for ${shares.length} routers`)
      }),
      { seed: 24, numRuns: 100 },
    ),
  )
})

t.test('D5 a look at demand that is left out because nothing has changed would have moved nothing', async t => {
  let quiet = 0
  fc.assert(
    fc.property(fc.integer(), seed => {
      const cluster = new Cluster(seed)
      for (let step = 0; step < 200; step++) cluster.step()
      cluster.settle(true)
      const TURNS = 60
      for (let turn = 0; turn < TURNS; turn++) {
        cluster.rebalance(true)
        cluster.settle(true)
      }
      const id = [...cluster.routers.keys()].find(routerId => !cluster.leaving.has(routerId))
      const isStarving = cluster.ledger
        .routerStates()
        .some(({ demand, held }) => demand > 0 && !Object.keys(held).length)
      if (id === undefined || isStarving) return
      quiet++
      // Who was about to leave and stays has everything looked at anew.
      cluster.ledger.routerLeaving(id)
      cluster.ledger.routerStays(id)
      const sent = cluster.ledger.rebalance(cluster.turn)
      if (sent.length > 0) throw new Error(`${sent.length} assignments changed`)
    }),
    { seed: 25, numRuns: 60 },
  )
  t.ok(quiet > 30, `${quiet} clusters came to rest`)
})
