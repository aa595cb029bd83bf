import fc from 'fast-check'
import t from 'tap'
import { BroadcastQueue } from '../src/broadcast-queue.ts'
import {
  type Claim,
  encodePacket,
  encodeStreamMessage,
  MalformedMessage,
  parsePacket,
  parseStreamMessage,
} from '../src/index.ts'
import { DEFAULT_SETTINGS, pushPullInterval, retransmitLimit } from '../src/settings.ts'
import { addressOf, claim, Driven } from './support/member.ts'

const terms = (bytes: number, limit: number) => ({ bytes, sizeOf: () => 10, limit })

t.test('B1 B2 news is sent so often and no more; least sent first, then newest', async t => {
  t.same(
    [1, 9, 10, 99, 100].map(count => retransmitLimit(DEFAULT_SETTINGS, count)),
    [4, 4, 8, 8, 12],
  )
  const queue = new BroadcastQueue()
  for (const id of ['b', 'c', 'd']) queue.push(claim(id))
  const take = () => queue.take(terms(20, 2)).map(({ id }) => id)
  t.same([take(), take(), take(), take()], [['d', 'c'], ['b', 'd'], ['c', 'b'], []])
})

t.test('B2 a packet is never larger than its limit', async t => {
  const driven = new Driven()
  const ids = Array.from({ length: 200 }, (_, index) => `a-rather-long-name-of-a-member-${index}`)
  driven.hear(...ids.map(id => claim(id)))
  driven.pass(2_000)
  const sizes = driven.packets('gossip').map(({ packet }) => encodePacket(packet).length)
  t.ok(sizes.length > 10)
  t.ok(Math.max(...sizes) <= DEFAULT_SETTINGS.packetBytesMax)
  t.ok(Math.max(...sizes) > DEFAULT_SETTINGS.packetBytesMax - 200, 'and is filled')
})

t.test('B3 newer news of a member replaces older', async t => {
  const queue = new BroadcastQueue()
  queue.push(claim('b'))
  queue.push(claim('b', 'suspect'))
  t.same(
    queue.take(terms(100, 4)).map(({ state }) => state),
    ['suspect'],
  )
})

t.test('B4 the dead are told for a while; with nobody to tell nothing is kept', async t => {
  const driven = new Driven({ gossipToDeadMs: 3_000 })
  driven.hear(claim('b'), claim('b', 'dead'))
  driven.pass(200)
  t.match(
    driven.packets('gossip').map(({ to }) => to),
    [addressOf('b')],
  )
  driven.pass(4_000)
  driven.hear(claim('b', 'left'))
  driven.pass(1_000)
  t.equal(driven.gossip.status().queued, 0)
})

t.test('D6 full exchanges are rarer in large groups', async t => {
  t.same(
    [2, 32, 33, 64, 65, 128].map(size => pushPullInterval(DEFAULT_SETTINGS, size) / 15_000),
    [1, 1, 2, 2, 3, 3],
  )
  const driven = new Driven()
  driven.hear(claim('b'))
  driven.pass(50_000, driven.answerAll)
  const syncs = driven.streams().filter(({ message }) => message.kind === 'sync')
  t.ok(syncs.length >= 3 && syncs.length <= 5, `${syncs.length} in 50 s`)
})

t.test('D7 views that differ for no reason cause a full exchange, not too often', async t => {
  const driven = new Driven({ pushPullIntervalMs: 1e9 })
  driven.hear(claim('b'))
  driven.pass(3_000, driven.answerAll)
  const before = driven.streams().length
  const ping = { kind: 'ping', from: 'b', to: 'a', claims: [], sequence: 1 } as const
  driven.receive({ ...ping, view: driven.view })
  t.equal(driven.streams().length, before)
  for (let time = 0; time < 5; time++) driven.receive({ ...ping, view: driven.view + 1 })
  t.match(driven.streams().slice(before), [{ to: addressOf('b'), message: { kind: 'sync' } }])
  t.equal(driven.gossip.status().viewMismatches, 1)
})

t.test('S1 alone, seeds are tried every second', async t => {
  const driven = new Driven({}, { seeds: [addressOf('a'), addressOf('b'), addressOf('c')] })
  driven.pass(10_000)
  const tried = driven.streams().map(({ to }) => to)
  t.ok(tried.length >= 18 && tried.length <= 24, `${tried.length}`)
  t.same([...new Set(tried)].sort(), [addressOf('b'), addressOf('c')], 'never itself')
})

t.test('S2 in a group the missing are tried: seeds and the dead', async t => {
  const driven = new Driven({ pushPullIntervalMs: 1e9 }, { seeds: [addressOf('b'), addressOf('s')] })
  driven.hear(claim('b'), claim('c'), claim('c', 'dead'))
  driven.pass(120_000, driven.answerAll)
  const tried = new Set(driven.streams().flatMap(({ to, message }) => (message.kind === 'sync' ? [to] : [])))
  t.same([...tried].sort(), [addressOf('c'), addressOf('s')])
})

t.test('S3 a lost member that speaks is asked once more', async t => {
  const driven = new Driven({ pushPullIntervalMs: 1e9, healIntervalMs: 1e6 })
  driven.hear(claim('b'), claim('c'), claim('c', 'dead'))
  driven.pass(2_000, driven.answerAll)
  const before = driven.streams().length
  driven.stream({ kind: 'sync', from: 'c', isReply: false, claims: [claim('c')], digest: new Map() })
  driven.pass(2_000, driven.answerAll)
  t.match(driven.streams().slice(before), [{ to: addressOf('c'), message: { kind: 'sync' } }])
})

const anyClaim: fc.Arbitrary<Claim> = fc.record({
  id: fc.stringMatching(/^[!-~]{1,20}$/),
  address: fc.constantFrom('10.0.0.1:80', '[fe80::1]:65535', 'host-1.example:1'),
  incarnation: fc.integer({ min: 1, max: 2 ** 52 }),
  state: fc.constantFrom('alive', 'suspect', 'dead', 'left'),
  from: fc.constantFrom('a', 'b'),
})

t.test('W1 a packet comes out as it went in, in ASCII', async () => {
  const base = { from: fc.constant('x'), claims: fc.array(anyClaim, { maxLength: 4 }) }
  const [number, to] = [fc.integer({ min: 0, max: 2 ** 31 }), fc.constantFrom('y', 'z')]
  const packet = fc.oneof(
    fc.record({ kind: fc.constant('ping' as const), ...base, sequence: number, to, view: number }),
    fc.record({ kind: fc.constant('ack' as const), ...base, sequence: number, view: number }),
    fc.record({ kind: fc.constant('nack' as const), ...base, sequence: number }),
    fc.record({ kind: fc.constant('pingReq' as const), ...base, sequence: number, to, address: fc.constant('h:1') }),
    fc.record({ kind: fc.constant('gossip' as const), ...base }),
  )
  fc.assert(
    fc.property(packet, packet => {
      const text = encodePacket(packet)
      t.same(parsePacket(text), packet)
      return /^[ -~]*$/.test(text)
    }),
    { seed: 1 },
  )
})

t.test('W2 what does not follow the format is dropped', async t => {
  const good = encodePacket({ kind: 'ping', from: 'b', claims: [claim('c')], sequence: 1, to: 'a', view: 2 })
  t.ok(parsePacket(good))
  const bad = [
    '',
    'null',
    '{}',
    '[]',
    '["z","b",[]]',
    good.slice(0, -1),
    good.replace('"p"', '"x"'),
    good.replace(',2]', ',-1]'),
    good.replace(',2]', ',2,3,4]'),
    good.replace(',10,', ',1.5,'),
    good.replace(',10,', `,${2 ** 53},`),
    good.replace('c.test:7000', 'c.test:0'),
    good.replace('c.test:7000', 'c.test:70000'),
    good.replace('c.test:7000', 'c test:7000'),
    good.replace('"a","c"', '"q","c"'),
    good.replace('"b"', '"b b"'),
    good.replace('"b"', `"${'b'.repeat(200)}"`),
    good.replace('"b"', '["b"]'),
  ]
  for (const text of bad) t.throws(() => parsePacket(text), MalformedMessage, text)
  fc.assert(
    fc.property(fc.string(), text => {
      try {
        parsePacket(text)
        return false
      } catch (error) {
        return error instanceof MalformedMessage
      }
    }),
    { seed: 2 },
  )
})

t.test('W2 W3 stream messages come out as they went in, or not at all', async t => {
  const entries = [
    { key: 'k', value: 'ü', version: 3, ttlMs: 5 },
    { key: 'gone', value: undefined, version: 4, ttlMs: undefined },
  ]
  const digest = new Map([['a', { generation: 1, version: 2 }]])
  for (const message of [
    { kind: 'sync', from: 'a', isReply: true, claims: [claim('b')], digest },
    { kind: 'rows', from: 'a', rows: [{ owner: 'b', generation: 1, base: 2, version: 4, floor: 0, entries }] },
    { kind: 'want', from: 'a', digest },
    { kind: 'ping', from: 'a', to: 'b', sequence: 1 },
    { kind: 'pong', from: 'a', sequence: 1 },
  ] as const) {
    const text = encodeStreamMessage(message)
    t.same(parseStreamMessage(text, DEFAULT_SETTINGS), message)
    t.throws(() => parseStreamMessage(text.slice(1), DEFAULT_SETTINGS), MalformedMessage)
    t.throws(() => parseStreamMessage(text.replace('"a"', '0'), DEFAULT_SETTINGS), MalformedMessage)
  }
  const tooLong = { key: 'k', value: 'x'.repeat(5_000), version: 1, ttlMs: undefined }
  const row = { owner: 'b', generation: 1, base: 0, version: 1, floor: 0, entries: [tooLong] }
  const rows = (more: object): string => encodeStreamMessage({ kind: 'rows', from: 'a', rows: [{ ...row, ...more }] })
  t.throws(() => parseStreamMessage(rows({}), DEFAULT_SETTINGS), MalformedMessage)
  const impossible = { entries: [{ ...tooLong, value: '', version: 2 }] }
  t.throws(() => parseStreamMessage(rows(impossible), DEFAULT_SETTINGS), MalformedMessage, 'a version of the future')
})
