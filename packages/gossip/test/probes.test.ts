import t from 'tap'
import { LocalHealth } from '../src/local-health.ts'
import { DEFAULT_SETTINGS, suspicionBounds } from '../src/settings.ts'
import { suspicionTimeoutMs } from '../src/suspicion.ts'
import { addressOf, claim, Driven } from './support/member.ts'

const others = ['b', 'c', 'd', 'e']

function group(): Driven {
  const driven = new Driven()
  driven.hear(...others.map(id => claim(id)))
  return driven
}

/** Until the first probe is on its way. */
function untilPing(driven: Driven): void {
  while (driven.packets('ping').length === 0) driven.pass(10)
}

t.test('P1 everybody is probed once before anybody twice', async t => {
  const driven = group()
  driven.pass(DEFAULT_SETTINGS.probeIntervalMs * 13, driven.answerAll)
  const targets = driven.packets('ping').map(({ packet }) => packet.to)
  t.ok(targets.length >= 12)
  for (let round = 0; round < 3; round++) {
    t.same(targets.slice(round * 4, round * 4 + 4).sort(), others, `round ${round}`)
  }
})

t.test('P2 P3 without an answer three others are asked, and a stream', async t => {
  const driven = group()
  untilPing(driven)
  driven.pass(DEFAULT_SETTINGS.probeTimeoutMs)
  const [ping] = driven.packets('ping')
  const requests = driven.packets('pingReq')
  t.equal(requests.length, 3)
  for (const { to, packet } of requests) {
    t.match(packet, { to: ping!.packet.to, address: ping!.to, sequence: ping!.packet.sequence })
    t.not(to, ping!.to)
  }
  t.match(
    driven.streams().filter(({ message }) => message.kind === 'ping'),
    [{ to: ping!.to }],
  )
  driven.stream({ kind: 'pong', from: ping!.packet.to, sequence: ping!.packet.sequence })
  driven.pass(DEFAULT_SETTINGS.probeIntervalMs / 2, driven.answerAll)
  t.equal(driven.stateOf(ping!.packet.to), 'alive', 'the answer by stream counts')
})

t.test('P2 a relay probes for others and passes the answer on', async t => {
  const driven = group()
  driven.receive({ kind: 'pingReq', from: 'b', claims: [], sequence: 77, to: 'c', address: addressOf('c') })
  const [ping] = driven.packets('ping')
  t.match(ping, { to: addressOf('c'), packet: { to: 'c' } })
  driven.receive({ kind: 'ack', from: 'c', claims: [], sequence: ping!.packet.sequence, view: driven.view })
  t.match(driven.packets('ack'), [{ to: addressOf('b'), packet: { sequence: 77 } }])
  for (let sequence = 100; sequence < 300; sequence++) {
    driven.receive({ kind: 'pingReq', from: 'b', claims: [], sequence, to: 'c', address: addressOf('c') })
  }
  t.equal(driven.packets('ping').length, 65, 'so many at a time and no more')
})

t.test('P4 a relay says that it hears nothing; silent relays make the asker doubt itself', async t => {
  const relay = group()
  relay.receive({ kind: 'pingReq', from: 'b', claims: [], sequence: 77, to: 'c', address: addressOf('c') })
  relay.pass(DEFAULT_SETTINGS.probeTimeoutMs)
  t.match(relay.packets('nack'), [{ to: addressOf('b'), packet: { sequence: 77 } }])

  for (const [isSaid, score] of [
    [true, 0],
    [false, 3],
  ] as const) {
    const asker = group()
    asker.pass(DEFAULT_SETTINGS.probeIntervalMs * 1.9, (packet, to) => {
      if (packet.kind !== 'pingReq' || !isSaid) return
      asker.receive({ kind: 'nack', from: to.slice(0, 1), claims: [], sequence: packet.sequence })
    })
    t.equal(asker.gossip.status().probeFailures, 1)
    t.equal(asker.gossip.status().localHealth, score)
  }
})

t.test('P5 a ping for somebody else is not answered', async t => {
  const driven = group()
  const ping = { kind: 'ping', from: 'b', claims: [], sequence: 1, view: driven.view } as const
  driven.receive({ ...ping, to: 'former' })
  t.same(driven.packets('ack'), [])
  driven.receive({ ...ping, to: 'a' })
  t.match(driven.packets('ack'), [{ to: addressOf('b'), packet: { sequence: 1 } }])
  t.same(driven.stream({ kind: 'ping', from: 'b', to: 'former', sequence: 1 }), [])
  t.match(driven.stream({ kind: 'ping', from: 'b', to: 'a', sequence: 2 }), [{ kind: 'pong', sequence: 2 }])
})

t.test('P6 a suspect hears of it with the next ping', async t => {
  const driven = new Driven()
  driven.hear(claim('b'))
  driven.pass(5_000, driven.answerAll)
  driven.hear(claim('b', 'suspect'))
  const before = driven.packets('ping').length
  driven.pass(DEFAULT_SETTINGS.probeIntervalMs)
  t.match(driven.packets('ping')[before]?.packet.claims[0], { id: 'b', state: 'suspect' })
  driven.hear(claim('b', 'alive', { incarnation: 11 }))
  driven.pass(3_000)
  const told = driven.streams().flatMap(({ message }) => (message.kind === 'sync' ? [...message.claims] : []))
  t.match(told.at(-1), { id: 'b', state: 'suspect', incarnation: 11 }, 'by its accuser, by stream')
})

t.test('F1 F2 a suspicion is long at first and shrinks with accusers', async t => {
  t.same(suspicionBounds(DEFAULT_SETTINGS, 3), { minMs: 1_500, maxMs: 9_000 })
  t.same(suspicionBounds(DEFAULT_SETTINGS, 100), { minMs: 3_000, maxMs: 18_000 })
  const terms = { minMs: 100, maxMs: 700, confirmationsWanted: 3 }
  t.same(
    [0, 1, 2, 3].map(count => Math.round(suspicionTimeoutMs(count, terms))),
    [700, 400, 225, 100],
  )
  t.equal(suspicionTimeoutMs(0, { ...terms, confirmationsWanted: 0 }), 100)
})

t.test('F2 F3 whoever does not refute in time is dead', async t => {
  const diesAfter = (...accusers: string[]): number => {
    const driven = group()
    driven.pass(3_000, driven.answerAll)
    for (const from of accusers) driven.hear(claim('c', 'suspect', { from }))
    const startedAtMs = driven.nowMs
    while (driven.stateOf('c') !== 'dead') driven.pass(50, driven.answerAll)
    return driven.nowMs - startedAtMs
  }
  t.equal(diesAfter('d'), 9_000)
  t.equal(diesAfter('d', 'd'), 9_000, 'the same accuser again is no confirmation')
  t.equal(diesAfter('d', 'e'), 1_500)
})

t.test('F3 a refutation in time ends it', async t => {
  const driven = group()
  driven.hear(claim('c', 'suspect'))
  driven.hear(claim('c', 'alive', { incarnation: 11 }))
  driven.pass(10_000, driven.answerAll)
  t.equal(driven.stateOf('c'), 'alive')
})

t.test('H1 H2 health is bounded, worsens with misses and late loops, and improves', async t => {
  const health = new LocalHealth(DEFAULT_SETTINGS)
  health.worsen(100)
  t.equal(health.score, 7)
  for (let time = 0; time < 9; time++) health.improve()
  t.equal(health.score, 0)
  for (const [delayMs, score] of [
    [99, 0],
    [100, 1],
    [199, 1],
    [200, 2],
    [800, 4],
    [1e9, 7],
    [0, 0],
  ] as const) {
    health.noteLoopDelay(delayMs)
    t.equal(health.score, score, `${delayMs} ms`)
  }
})

t.test('H1 in bad health the time-outs are longer', async t => {
  const driven = group()
  driven.gossip.noteLoopDelay(400)
  untilPing(driven)
  driven.pass(3 * DEFAULT_SETTINGS.probeTimeoutMs)
  t.equal(driven.packets('ping').length, 1)
  t.same(driven.packets('pingReq'), [], 'four times the time-out is not over')
})

t.test('H3 who was away accuses nobody for that time', async t => {
  const driven = group()
  driven.pass(3_000, driven.answerAll)
  driven.hear(claim('c', 'suspect'))
  // Until a probe is on its way; then the process is stopped.
  const before = driven.packets('ping').length
  while (driven.packets('ping').length === before) driven.pass(10)
  driven.nowMs += 20_000
  driven.gossip.tick(driven.nowMs)
  t.equal(driven.stateOf('c'), 'suspect', 'its time is not over')
  driven.hear(claim('c', 'alive', { incarnation: 11 }))
  driven.pass(3_000, driven.answerAll)
  t.same(new Set(driven.gossip.members().map(({ state }) => state)), new Set(['alive']))
})
