import { createPrng } from '@waiter/base'
import type { InstanceLease, ServiceSummary, SlotExchange } from '@waiter/control'
import type { ServiceDefinition } from '@waiter/services'
import { DEFAULT_EJECTION, Waiter } from '@waiter/slots'
import t from 'tap'
import { systemTime } from '../src/services/service-runtime.ts'
import { ServiceTable } from '../src/services/service-table.ts'
import { ReferenceRecorder } from '../src/versions/reference-recorder.ts'

class WaitingRequest extends Waiter {
  isServed = false
  granted(): void {
    this.isServed = true
  }
  failed(): void {
    throw new Error('nothing fails here')
  }
}

const ID = 'waiter-service-1'
const definition = {
  id: ID,
  core: {},
  effective: { 'load-balancing': 'oldest', 'concurrency-level': 1, 'max-queue-length': 10 },
} as unknown as ServiceDefinition
const summary: ServiceSummary = {
  status: 'Starting',
  healthy: 0,
  unhealthy: 1,
  requested: 1,
  scalingState: 'stable',
  problem: null,
  sourceTokens: [],
  isOnTheFly: false,
  isStale: false,
  startTrouble: null,
  successions: [],
  outstanding: 1,
  total: 1,
  lastRequestMs: 1,
}
const lease: InstanceLease = {
  instanceId: `${ID}.a`,
  host: '127.0.0.1',
  port: 10_001,
  extraPorts: [],
  slots: 1,
  startedAtMs: 1,
  expired: false,
  logDirectory: null,
}

/** A table with one request that waits for the service; `needs` counts how often the leader is asked. */
function createWaitingTable() {
  let needs = 0
  const table = new ServiceTable({
    ejection: DEFAULT_EJECTION,
    random: createPrng(1),
    time: { ...systemTime, nowMs: () => 0 },
    onInstanceRetired: () => undefined,
    references: new ReferenceRecorder(),
    successions: () => [],
  })
  table.connect({
    noteLoadChange: () => undefined,
    followService: () => undefined,
    noteReducedUse: () => undefined,
    needService: () => {
      needs += 1
    },
  })
  t.teardown(() => table.dispose())
  const runtime = table.open(definition)
  const request = new WaitingRequest()
  const assign = (leases: readonly InstanceLease[]): void =>
    table.applyAssignment({ isFull: false, upserts: [{ definition, leases, summary }], removals: [] })
  const wait = (): void => {
    runtime.accept()
    runtime.machine.enqueue(request, 60_000, 0)
    table.need(runtime, [])
  }
  return { table, runtime, request, assign, wait, needs: () => needs }
}

t.test('the leader is not asked again while the first instance starts: it has just said so', async t => {
  const { request, assign, wait, needs } = createWaitingTable()
  wait()
  assign([])
  t.equal(needs(), 1)
  assign([lease])
  t.ok(request.isServed)
  t.equal(needs(), 1)
})

t.test('the leader is asked again when the last instance is taken away while a request waits', async t => {
  const { runtime, assign, wait, needs } = createWaitingTable()
  assign([lease])
  runtime.machine.reserve(0)
  wait()
  assign([])
  t.equal(needs(), 2)
})

t.test('the leader is asked again when the service goes while a request waits for its first instance', async t => {
  const { table, wait, needs } = createWaitingTable()
  wait()
  table.applyAssignment({ isFull: false, upserts: [], removals: [ID] })
  t.equal(needs(), 2)
})

t.test('the leader is asked again when a full assignment no longer lists the service', async t => {
  const { table, assign, wait, needs } = createWaitingTable()
  wait()
  assign([])
  table.applyAssignment({ isFull: true, upserts: [], removals: [] })
  t.equal(needs(), 2)
})

t.test('what waits at other routers counts, as long as the leader is there to say so', async t => {
  const { table, runtime } = createWaitingTable()
  const upserts = [{ definition, leases: [], summary, waitingElsewhere: 10 }]
  table.applyAssignment({ isFull: false, upserts, removals: [] })
  t.match(runtime.machine.enqueue(new WaitingRequest(), 60_000, 0), { kind: 'queue-full' })
  table.leaderLost()
  t.equal(runtime.machine.enqueue(new WaitingRequest(), 60_000, 0), undefined)
})

t.test(
  'A5 what is in use when a leader is found anew serves on without it only if that leader took it away',
  async t => {
    for (const isFull of [false, true]) {
      const { table, runtime, assign, wait } = createWaitingTable()
      assign([lease])
      const slot = runtime.machine.reserve(0)
      t.ok(slot)
      table.applyAssignment({ isFull, upserts: [{ definition, leases: [], summary }], removals: [] })
      table.leaderLost()
      wait()
      if (slot) runtime.machine.release(slot, 'success', 0)
      t.equal(runtime.machine.counts().waiting, isFull ? 1 : 0)
    }
  },
)

t.test('what a dead router had borrowed is free for nobody if the same, first assignment takes it away', async t => {
  for (const isFull of [true, false]) {
    const { table, runtime, request, assign, wait } = createWaitingTable()
    assign([lease])
    const lent = runtime.machine.reserve(0)
    wait()
    table.share({
      applyPeers: () => lent !== undefined && runtime.giveBack(lent, 'unused'),
      setLenders: () => undefined,
      noteQueue: () => undefined,
    } as unknown as SlotExchange)
    const peers = { isFull, peers: [], dead: ['dead'] }
    table.applyAssignment({ isFull, upserts: [{ definition, leases: [], summary }], removals: [], peers })
    t.equal(request.isServed, !isFull, 'from assignment to assignment, it is ours until we acknowledge that it is not')
  }
})
