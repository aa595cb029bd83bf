import t from 'tap'
import { DEFAULT_HTTP2_LIMITS, ErrorCode } from '../../src/h2/index.ts'
import { TokenBucket } from '../../src/h2/token-bucket.ts'
import { Recorder, type Rig, Rig as RigClass, readyRig } from './support/rig.ts'
import {
  block,
  data,
  Flag,
  FrameType,
  fieldsOf,
  frame,
  GET,
  headers,
  POST,
  PREFACE,
  settings,
  uint32,
} from './support/wire.ts'

const cancel = (streamId: number): Buffer => frame(FrameType.RST_STREAM, 0, streamId, uint32(ErrorCode.CANCEL))

/** Pushes until the engine has had enough; how often that was. */
function floodUntilOver(rig: Rig, next: (round: number) => Buffer, roundsMax: number): number {
  for (let round = 0; round < roundsMax; round++) {
    rig.push(next(round))
    rig.frames()
    if (rig.connection.isOver) return round
  }
  return roundsMax
}

const FLOODS: readonly (readonly [title: string, allowed: number, next: (round: number) => Buffer])[] = [
  [
    'requests that are cancelled at once (rapid reset)',
    DEFAULT_HTTP2_LIMITS.resetsBurst,
    round => Buffer.concat([headers(round * 2 + 1, POST, 0), cancel(round * 2 + 1)]),
  ],
  ['requests that make us reset them', DEFAULT_HTTP2_LIMITS.resetsBurst, round => headers(round * 2 + 1, ['x', 'y'])],
  [
    'streams broken by a window update of 0',
    DEFAULT_HTTP2_LIMITS.resetsBurst,
    round =>
      Buffer.concat([headers(round * 2 + 1, POST, 0), frame(FrameType.WINDOW_UPDATE, 0, round * 2 + 1, uint32(0))]),
  ],
  ['PING', DEFAULT_HTTP2_LIMITS.pingsBurst, () => frame(FrameType.PING, 0, 0, Buffer.alloc(8))],
  ['SETTINGS', DEFAULT_HTTP2_LIMITS.settingsBurst - 2, () => settings()],
  [
    'empty DATA',
    DEFAULT_HTTP2_LIMITS.emptyDataBurst,
    round => (round === 0 ? Buffer.concat([headers(1, POST, 0), data(1, '')]) : data(1, '')),
  ],
  [
    'DATA of padding only',
    DEFAULT_HTTP2_LIMITS.emptyDataBurst,
    round =>
      Buffer.concat([
        round === 0 ? headers(1, POST, 0) : Buffer.alloc(0),
        frame(FrameType.DATA, Flag.PADDED, 1, Buffer.from([0])),
      ]),
  ],
  ['PRIORITY', DEFAULT_HTTP2_LIMITS.ignoredFramesBurst, () => frame(FrameType.PRIORITY, 0, 1, Buffer.alloc(5))],
  ['unknown frames', DEFAULT_HTTP2_LIMITS.ignoredFramesBurst, () => frame(0x77, 0, 0)],
  ['WINDOW_UPDATE', DEFAULT_HTTP2_LIMITS.windowUpdatesBurst, () => frame(FrameType.WINDOW_UPDATE, 0, 0, uint32(1))],
]

for (const [title, allowed, next] of FLOODS) {
  t.test(`a flood is cut: ${title}`, async t => {
    const rig = readyRig('server')
    const rounds = floodUntilOver(rig, next, 30_000)
    t.equal(rounds, allowed, 'exactly the burst is allowed at once')
    t.equal(rig.ends[0]?.code, ErrorCode.ENHANCE_YOUR_CALM)
  })
}

t.test('the same at a decent pace is no flood', async t => {
  const rig = readyRig('server')
  for (let round = 0; round < 2000; round++) {
    rig.push(headers(round * 2 + 1, POST, 0), cancel(round * 2 + 1))
    rig.clock.advance(1000 / DEFAULT_HTTP2_LIMITS.resetsPerSecond)
  }
  t.equal(rig.connection.isOver, false)
})

t.test('a bucket allows its burst and then its rate', async t => {
  const bucket = new TokenBucket(3, 10)
  t.same(
    [1, 2, 3, 4].map(() => bucket.take(1000)),
    [true, true, true, false],
  )
  t.equal(bucket.take(1050), false)
  t.equal(bucket.take(1100), true)
  t.equal(bucket.take(1100), false)
  t.same(
    [1, 2, 3, 4].map(() => bucket.take(90_000)),
    [true, true, true, false],
    'never more than the burst',
  )
})

t.test('a peer that does not read our answers is cut', async t => {
  const rig = readyRig('server', { limits: { unsentControlFramesMax: 50 } })
  rig.io.isStuck = true
  for (let i = 0; i < 51; i++) {
    rig.push(frame(FrameType.PING, 0, 0, Buffer.alloc(8)))
    rig.turn()
  }
  t.equal(rig.ends[0]?.code, ErrorCode.ENHANCE_YOUR_CALM)
})

t.test('streams beyond the limit are refused, and their blocks still decoded', async t => {
  const rig = readyRig('server', { limits: { concurrentStreamsMax: 2 } })
  const indexed = frame(
    FrameType.HEADERS,
    Flag.END_STREAM | Flag.END_HEADERS,
    5,
    Buffer.concat([block(...GET), Buffer.from([0x40, 1, 0x61, 1, 0x62])]),
  )
  rig.push(headers(1, GET), headers(3, GET), indexed)
  const resets = rig.frames().filter(it => it.type === FrameType.RST_STREAM)
  t.same(
    resets.map(it => [it.streamId, it.payload.readUInt32BE(0)]),
    [[5, ErrorCode.REFUSED_STREAM]],
  )
  rig.requests[0]!.sendHead(fieldsOf(':status', '204'), true)
  const reference = frame(
    FrameType.HEADERS,
    Flag.END_STREAM | Flag.END_HEADERS,
    7,
    Buffer.concat([block(...GET), Buffer.from([0xbe])]),
  )
  rig.push(reference)
  t.equal(rig.requests[2]?.request?.get('a'), 'b', 'the refused request filled the table')
})

t.test('answers that nobody reads do not pile up', async t => {
  const rig = readyRig('server', { limits: { concurrentStreamsMax: 4 } })
  rig.onRequest = stream => {
    stream.sendHead(fieldsOf(':status', '204'), true)
    return undefined
  }
  rig.io.isStuck = true
  for (let i = 0; i < 100; i++) rig.push(headers(i * 2 + 1, GET))
  t.equal(rig.requests.length, 17, 'four times the streams, then REFUSED_STREAM')
  rig.turn()
  rig.io.unstick()
  rig.connection.drained()
  rig.push(headers(301, GET))
  t.equal(rig.requests.length, 18)
})

t.test('an honest peer is served on a transport that is never quite empty', async t => {
  const rig = readyRig('server', { limits: { concurrentStreamsMax: 4, unsentControlFramesMax: 20 } })
  rig.onRequest = stream => {
    stream.sendHead(fieldsOf(':status', '204'), true)
    return undefined
  }
  rig.io.isStuck = true
  for (let i = 0; i < 500; i++) {
    rig.push(headers(i * 2 + 1, GET), frame(FrameType.PING, 0, 0, Buffer.alloc(8)))
    // What was written before leaves, without word of it; the newest answer is still there.
    rig.io.unstick()
    rig.io.isStuck = true
    rig.turn()
  }
  t.equal(rig.requests.length, 500)
  t.equal(rig.connection.isOver, false)
})

t.test('a client obeys the limit of the server', async t => {
  const rig = readyRig('client')
  rig.push(settings([3, 2]))
  const ask = (): boolean => rig.connection.request(fieldsOf(...GET), true, new Recorder()) !== null
  t.same([ask(), ask(), ask()], [true, true, false])
  t.equal(rig.connection.canRequest, false)
  rig.push(headers(1, [':status', '204']))
  t.equal(ask(), true, 'a stream that ended makes room')
})

t.test('a client trusts a silent server with 100 streams', async t => {
  const rig = new RigClass('client')
  let opened = 0
  while (rig.connection.request(fieldsOf(...GET), true, new Recorder()) !== null) opened += 1
  t.equal(opened, 100)
})

t.test('timers', async t => {
  const rows: readonly (readonly [title: string, run: (rig: Rig) => void, waitMs: number, code: number])[] = [
    ['no preface', () => {}, 11_000, ErrorCode.SETTINGS_TIMEOUT],
    ['SETTINGS never acknowledged', rig => rig.push(PREFACE, settings()), 11_000, ErrorCode.SETTINGS_TIMEOUT],
    [
      'a field block that never ends',
      rig => {
        rig.shakeHands()
        rig.push(frame(FrameType.HEADERS, 0, 1, block(...GET)))
      },
      11_000,
      ErrorCode.ENHANCE_YOUR_CALM,
    ],
    ['an idle connection', rig => rig.shakeHands(), 63_000, ErrorCode.NO_ERROR],
  ]
  for (const [title, run, waitMs, code] of rows) {
    const rig = new RigClass('server')
    run(rig)
    rig.clock.advance(waitMs - 3000)
    t.equal(rig.ends.length, 0, `${title}: not too early`)
    rig.clock.advance(3000)
    rig.turn()
    t.equal(rig.ends[0]?.code, code, title)
    t.equal(rig.io.hasEnded, true)
    rig.clock.advance(3000)
    t.equal(rig.io.isDestroyed, true, `${title}: closed for good behind the linger time`)
  }
})

t.test('a busy connection does not time out', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, POST, 0))
  rig.clock.advance(600_000)
  t.equal(rig.connection.isOver, false, 'a stream may rest as long as its owner lets it')
})

t.test('a peer that takes no bytes is cut', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, GET))
  rig.io.isStuck = true
  rig.requests[0]!.sendHead(fieldsOf(':status', '200'), false)
  rig.requests[0]!.sendData(Buffer.alloc(1000), 0, 1000)
  rig.turn()
  rig.clock.advance(29_000)
  t.equal(rig.connection.isOver, false)
  rig.clock.advance(35_000)
  t.equal(rig.ends[0]?.detail, 'the peer takes no bytes')
  t.match(rig.recorders[0]!.events.at(-1), /^reset connection/)
})

t.test('a stream whose window stays shut is cut, the others go on', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, GET), headers(3, GET))
  rig.push(frame(FrameType.WINDOW_UPDATE, 0, 0, uint32(1_000_000)))
  for (const stream of rig.requests) stream.sendHead(fieldsOf(':status', '200'), false)
  for (const stream of rig.requests) stream.sendData(Buffer.alloc(100_000), 0, 100_000)
  rig.turn()
  for (let i = 0; i < 7; i++) {
    rig.clock.advance(10_000)
    rig.push(frame(FrameType.WINDOW_UPDATE, 0, 3, uint32(10)))
    rig.turn()
  }
  t.match(rig.recorders[0]!.events.at(-1), /^reset stalled/)
  t.same(
    rig.recorders[1]!.events.filter(it => it.startsWith('reset')),
    [],
    'slow is not stalled',
  )
})
