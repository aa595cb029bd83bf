import t from 'tap'
import { ErrorCode, type Http2Stream } from '../../src/h2/index.ts'
import { Recorder, type Rig, readyRig } from './support/rig.ts'
import {
  data,
  Flag,
  type Frame,
  FrameType,
  fieldsOf,
  frame,
  GET,
  headers,
  POST,
  settings,
  uint32,
} from './support/wire.ts'

const KIB = 1024

function dataBytes(frames: readonly Frame[], streamId?: number): number {
  return frames
    .filter(it => it.type === FrameType.DATA && (streamId === undefined || it.streamId === streamId))
    .reduce((sum, it) => sum + it.payload.length, 0)
}

/** A server whose stream 1, 3, … have got their response head out. */
function responding(rig: Rig, count: number): Http2Stream[] {
  for (let i = 0; i < count; i++) rig.push(headers(i * 2 + 1, GET))
  for (const stream of rig.requests) stream.sendHead(fieldsOf(':status', '200'), false)
  rig.frames()
  return rig.requests
}

function windowUpdate(streamId: number, increment: number): Buffer {
  return frame(FrameType.WINDOW_UPDATE, 0, streamId, uint32(increment))
}

t.test('sending stops at the stream window and goes on when it opens', async t => {
  const rig = readyRig('server')
  const [stream] = responding(rig, 1)
  t.equal(stream!.sendData(Buffer.alloc(100 * KIB), 0, 100 * KIB), false, 'asks to wait')
  stream!.end()
  const first = rig.frames()
  t.equal(dataBytes(first), 65_535)
  t.ok(
    first.every(it => it.payload.length <= 16_384),
    'frames as large as the peer takes',
  )
  rig.push(windowUpdate(0, 100 * KIB))
  t.equal(dataBytes(rig.frames()), 0, 'the connection window alone is not enough')
  rig.push(windowUpdate(1, 100))
  t.equal(dataBytes(rig.frames()), 100)
  rig.push(windowUpdate(1, 100 * KIB))
  const last = rig.frames()
  t.equal(dataBytes(last), 100 * KIB - 65_535 - 100)
  t.equal(last.at(-1)!.flags & Flag.END_STREAM, Flag.END_STREAM, 'the end rides on the last DATA frame')
})

t.test('the connection window is shared frame by frame', async t => {
  const rig = readyRig('server')
  const streams = responding(rig, 3)
  rig.push(windowUpdate(1, 200 * KIB), windowUpdate(3, 200 * KIB), windowUpdate(5, 200 * KIB))
  for (const stream of streams) stream.sendData(Buffer.alloc(100 * KIB), 0, 100 * KIB)
  rig.frames()
  rig.push(windowUpdate(0, 6 * 16_384))
  const frames = rig.frames()
  t.equal(dataBytes(frames), 6 * 16_384)
  const shares = [1, 3, 5].map(id => dataBytes(frames, id))
  t.ok(Math.max(...shares) - Math.min(...shares) <= 16_384, `fair: ${shares}`)
})

t.test('a smaller initial window may make a window negative', async t => {
  const rig = readyRig('server')
  const [stream] = responding(rig, 1)
  stream!.sendData(Buffer.alloc(60_000), 0, 60_000)
  rig.push(settings([4, 10]))
  stream!.sendData(Buffer.alloc(1000), 0, 1000)
  rig.frames()
  rig.push(windowUpdate(1, 59_990))
  t.equal(dataBytes(rig.frames()), 0, 'still at zero')
  rig.push(windowUpdate(1, 7))
  t.equal(dataBytes(rig.frames()), 7)
  rig.push(settings([4, 500]))
  t.equal(dataBytes(rig.frames()), 490, 'a larger one opens it')
})

t.test('an initial window of one octet is obeyed', async t => {
  const rig = readyRig('server')
  rig.push(settings([4, 1]), headers(1, GET))
  rig.requests[0]!.sendHead(fieldsOf(':status', '200'), false)
  rig.requests[0]!.sendData(Buffer.from('hello'), 0, 5)
  t.equal(dataBytes(rig.frames()), 1)
})

t.test('a source is told once all of its data has left', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, GET))
  const [stream] = rig.requests
  const [recorder] = rig.recorders
  stream!.sendHead(fieldsOf(':status', '200'), false)
  t.equal(stream!.sendData(Buffer.alloc(1000), 0, 1000), true)
  t.equal(stream!.sendData(Buffer.alloc(70_000), 0, 70_000), false)
  rig.frames()
  t.notOk(recorder!.events.includes('drain'))
  rig.push(windowUpdate(0, 70_000), windowUpdate(1, 70_000))
  rig.turn()
  t.equal(recorder!.events.filter(it => it === 'drain').length, 1)
})

t.test('a socket that takes nothing holds DATA in the streams, not heads', async t => {
  const rig = readyRig('server', { limits: { outputBytesMax: 40 * KIB } })
  const streams = responding(rig, 2)
  rig.push(windowUpdate(0, 2 ** 20), windowUpdate(1, 2 ** 20), windowUpdate(3, 2 ** 20))
  rig.frames()
  rig.io.isStuck = true
  t.equal(streams[0]!.sendData(Buffer.alloc(200 * KIB), 0, 200 * KIB), false)
  rig.turn()
  t.ok(rig.io.writableLength <= 40 * KIB + 17 * KIB, `bounded: ${rig.io.writableLength}`)
  t.ok(streams[0]!.writableLength >= 140 * KIB)
  t.equal(streams[1]!.sendData(Buffer.from('x'), 0, 1), false)
  rig.io.unstick()
  rig.connection.drained()
  t.equal(dataBytes(rig.frames()), 200 * KIB + 1, 'all goes once the socket does')
})

t.test('a source that ignores back-pressure loses its stream', async t => {
  const rig = readyRig('server', { limits: { sendQueueBytesMax: 100 * KIB } })
  const [stream] = responding(rig, 1)
  for (let i = 0; i < 30; i++) stream!.sendData(Buffer.alloc(10 * KIB), 0, 10 * KIB)
  t.match(rig.recorders[0]!.events.at(-1), /^reset stalled/)
  const reset = rig.frames().find(it => it.type === FrameType.RST_STREAM)
  t.equal(reset?.payload.readUInt32BE(0), ErrorCode.CANCEL)
})

t.test('what is received is credited in large steps', async t => {
  const rig = readyRig('server', { limits: { streamWindowBytes: 100_000, connectionWindowBytes: 200_000 } })
  rig.push(headers(1, POST, 0))
  const updates: string[] = []
  for (let i = 0; i < 20; i++) {
    rig.push(data(1, Buffer.alloc(10_000)))
    for (const it of rig.frames()) updates.push(`${it.streamId}+${it.payload.readUInt32BE(0)}`)
  }
  t.same(updates, ['1+50000', '0+100000', '1+50000', '1+50000', '0+100000', '1+50000'])
})

t.test('padding is credited too', async t => {
  const rig = readyRig('server', { limits: { streamWindowBytes: 70_000, connectionWindowBytes: 70_000 } })
  rig.push(headers(1, POST, 0))
  const padded = frame(
    FrameType.DATA,
    Flag.PADDED,
    1,
    Buffer.concat([Buffer.from([255]), Buffer.from('x'), Buffer.alloc(255)]),
  )
  for (let i = 0; i < 180; i++) rig.push(padded)
  const credited = rig
    .frames()
    .filter(it => it.streamId === 0)
    .reduce((sum, it) => sum + it.payload.readUInt32BE(0), 0)
  t.ok(credited >= 35_000, `${credited}`)
  for (let i = 0; i < 180; i++) rig.push(padded)
  t.equal(rig.connection.isOver, false, 'twice the window went through')
})

t.test('DATA beyond a window', async t => {
  const stream = readyRig('server', { limits: { streamWindowBytes: 66_000, connectionWindowBytes: 200_000 } })
  stream.push(headers(1, POST, 0))
  stream.requests[0]!.pause()
  for (let i = 0; i < 5; i++) stream.push(data(1, Buffer.alloc(16_384)))
  const reset = stream.frames().find(it => it.type === FrameType.RST_STREAM)
  t.equal(reset?.payload.readUInt32BE(0), ErrorCode.FLOW_CONTROL_ERROR, 'of the stream')
  t.equal(stream.connection.heldBytes, 0, 'what was held is gone')

  const whole = readyRig('server', {
    limits: { streamWindowBytes: 200_000, connectionWindowBytes: 66_000, receiveBufferBytesMax: 0 },
  })
  whole.push(headers(1, POST, 0))
  whole.requests[0]!.pause()
  for (let i = 0; i < 5; i++) whole.push(data(1, Buffer.alloc(16_384)))
  t.equal(whole.ends[0]?.code, ErrorCode.FLOW_CONTROL_ERROR, 'of the connection')
})

t.test('a paused stream holds one window and delivers it in order', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, POST, 0))
  const [stream] = rig.requests
  const [recorder] = rig.recorders
  stream!.pause()
  rig.push(data(1, 'one '), data(1, 'two '), headers(1, ['x-sum', '7']))
  t.same(recorder!.events, [])
  t.equal(stream!.heldBytes, 8)
  stream!.resume()
  t.equal(recorder!.body.toString(), 'one two ')
  t.same(recorder!.events, ['data', 'trailers [["x-sum","7"]]', 'end'])
  t.equal(rig.connection.heldBytes, 0)
})

t.test('a handler may pause in the middle of what was held', async t => {
  const rig = readyRig('server')
  const seen: string[] = []
  rig.push(headers(1, POST, 0))
  const [stream] = rig.requests
  stream!.pause()
  const recorder = new Recorder()
  recorder.onData = (bytes, start, end) => {
    seen.push(bytes.toString('latin1', start, end))
    stream!.pause()
  }
  stream!.handler = recorder
  rig.push(data(1, 'a'), data(1, 'b'), data(1, 'c', Flag.END_STREAM))
  for (const expected of [['a'], ['a', 'b'], ['a', 'b', 'c']]) {
    stream!.resume()
    t.same(seen, expected)
  }
  t.same(recorder.events, [])
  stream!.resume()
  t.same(recorder.events, ['end'])
})

t.test('paused streams stop the connection only when they hold much', async t => {
  const rig = readyRig('server', {
    limits: { streamWindowBytes: 100_000, connectionWindowBytes: 100_000, receiveBufferBytesMax: 60_000 },
  })
  rig.push(headers(1, POST, 0))
  const [stream] = rig.requests
  stream!.pause()
  for (let i = 0; i < 9; i++) rig.push(data(1, Buffer.alloc(10_000)))
  t.same(
    rig.frames().map(it => it.payload.readUInt32BE(0)),
    [50_000],
    'credit up to the bound',
  )
  stream!.resume()
  const later = rig.frames().filter(it => it.streamId === 0)
  t.equal(rig.connection.heldBytes, 0)
  rig.push(...Array.from({ length: 5 }, () => data(1, Buffer.alloc(10_000))))
  const all = [...later, ...rig.frames().filter(it => it.streamId === 0)]
  t.ok(all.length > 0, 'and the rest when it was delivered')
})

t.test('one write per turn, however many streams speak', async t => {
  const rig = readyRig('server')
  const streams = responding(rig, 50)
  const before = rig.io.writeCalls
  for (const stream of streams) {
    stream.sendData(Buffer.from('hello'), 0, 5)
    stream.end()
  }
  t.equal(rig.frames().length, 50, 'END_STREAM needs no frames of its own')
  t.equal(rig.io.writeCalls, before + 1)
})
