import t from 'tap'
import { ENVELOPE_BYTES, Envelope } from '../../src/node/envelope.ts'
import { encodeFrame, FRAME_BYTES_MAX, FrameReader } from '../../src/node/frames.ts'
import { deriveKey } from '../../src/node/keys.ts'
import { RateLimit } from '../../src/node/rate-limit.ts'

const key = deriveKey('a secret that is long enough', 'test')
let nowMs = 1_000_000
const clock = (): number => nowMs
const pair = () => [new Envelope([key], clock), new Envelope([key], clock)] as const

t.test('a packet comes out as it went in, once', async t => {
  const [sender, receiver] = pair()
  const packet = sender.seal('hello')
  t.equal(packet.length, ENVELOPE_BYTES + 5)
  t.same(receiver.open(packet), { body: 'hello' })
  t.same(receiver.open(packet), { refusal: 'replay' })
  t.not(sender.seal('hello').compare(packet), 0, 'no two are the same')
})

t.test('no bit of it can be changed, and nothing be cut off or added', async t => {
  const [sender, receiver] = pair()
  const packet = sender.seal('hello')
  for (let at = 0; at < packet.length; at++) {
    const changed = Buffer.from(packet)
    changed[at]! ^= 1
    t.ok('refusal' in receiver.open(changed), `byte ${at}`)
  }
  for (const other of [packet.subarray(1), packet.subarray(0, -1), Buffer.concat([packet, Buffer.alloc(1)])]) {
    t.ok('refusal' in receiver.open(other))
  }
  t.same(receiver.open(Buffer.alloc(3)), { refusal: 'size' })
  t.same(receiver.open(Buffer.alloc(1_401)), { refusal: 'size' })
  t.same(receiver.open(packet), { body: 'hello' }, 'the true one still counts')
})

t.test('an old packet, or one from the future, does not count', async t => {
  const [sender, receiver] = pair()
  const packet = sender.seal('hello')
  for (const awayMs of [-60_001, 60_001]) {
    nowMs -= awayMs
    t.same(receiver.open(packet), { refusal: 'time' })
    nowMs += awayMs
  }
})

t.test('what was sent before a restart does not count after it', async t => {
  const [sender, receiver] = pair()
  const packet = sender.seal('hello')
  t.ok('body' in receiver.open(packet))
  nowMs += 5
  const [, restarted] = pair()
  t.same(restarted.open(packet), { refusal: 'time' })
  t.same(restarted.open(sender.seal('new')), { body: 'new' })
})

t.test('what was forgotten under a flood of true packets does not count again', async t => {
  const [sender] = pair()
  const receiver = new Envelope([key], clock, 1_000)
  nowMs += 30_000
  const ahead = sender.seal('of a sender whose clock is ahead')
  nowMs -= 30_000
  t.ok('body' in receiver.open(ahead))
  const first = sender.seal('first')
  t.same(receiver.open(first), { body: 'first' })
  for (let index = 0; index < 1_200; index++) {
    if (index % 10 === 0) nowMs++
    receiver.open(sender.seal(''))
  }
  t.ok('refusal' in receiver.open(first))
  t.ok('refusal' in receiver.open(ahead))
  nowMs += 30_000
  t.same(receiver.open(sender.seal('new')), { body: 'new' }, 'and what is new still does')
})

t.test('keys differ by secret, cluster and purpose', async t => {
  const others = [deriveKey('a secret that is long enough', 'other'), deriveKey('another secret, long enough', 'test')]
  const all = [key, ...others].flatMap(({ packets, streams }) => [packets.toString('hex'), streams.toString('hex')])
  t.equal(new Set(all).size, 6)
  const [sender] = pair()
  t.same(new Envelope([others[0]!], clock).open(sender.seal('x')), { refusal: 'key' })
})

t.test('a source may send so much a second; unknown sources share when there are too many', async t => {
  const rate = new RateLimit(2)
  t.same(
    [1, 2, 3].map(() => rate.admits('a', 0)),
    [true, true, false],
  )
  t.ok(rate.admits('b', 0))
  t.ok(rate.admits('a', 1_000), 'the next second')
  for (let index = 0; index < 1_100; index++) rate.admits(`source ${index}`, 2_000)
  t.notOk(rate.admits('one more', 2_000))
})

t.test('frames come out whole, however the bytes arrive; too long ones end it', async t => {
  const texts = ['', 'a', 'ü'.repeat(1_000)]
  const bytes = Buffer.concat(texts.map(encodeFrame))
  for (const step of [1, 3, 1_000, bytes.length]) {
    const seen: string[] = []
    const reader = new FrameReader()
    for (let at = 0; at < bytes.length; at += step)
      t.ok(reader.push(bytes.subarray(at, at + step), text => seen.push(text)))
    t.same(seen, texts)
  }
  const long = Buffer.alloc(4)
  long.writeUInt32BE(FRAME_BYTES_MAX + 1)
  t.notOk(new FrameReader().push(long, () => t.fail()))
})
