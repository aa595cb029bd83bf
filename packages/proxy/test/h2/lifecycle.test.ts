import t from 'tap'
import { ErrorCode, errorCodeName, guessPreface, TurnScheduler } from '../../src/h2/index.ts'
import { Recorder, readyRig } from './support/rig.ts'
import {
  data,
  Flag,
  FrameType,
  fieldsOf,
  frame,
  GET,
  headers,
  newDecoder,
  POST,
  PREFACE,
  pairsOf,
  settings,
  uint32,
} from './support/wire.ts'

const goaway = (lastStreamId: number, code: number): Buffer => frame(FrameType.GOAWAY, 0, 0, uint32(lastStreamId, code))

t.test('a request and its response, frame by frame', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, POST, 0), data(1, 'ab'), data(1, 'c', Flag.END_STREAM))
  t.same(rig.recorders[0]!.events, ['data', 'end'])
  const [stream] = rig.requests
  stream!.sendInterim(fieldsOf(':status', '103', 'link', '</a>'))
  stream!.sendHead(fieldsOf(':status', '200', 'x-a', 'b'), false)
  stream!.sendData(Buffer.from('xyz'), 0, 3)
  stream!.sendTrailers(fieldsOf('grpc-status', '0'))
  const frames = rig.frames()
  t.same(
    frames.map(it => [it.type, it.flags, it.streamId]),
    [
      [FrameType.HEADERS, Flag.END_HEADERS, 1],
      [FrameType.HEADERS, Flag.END_HEADERS, 1],
      [FrameType.DATA, 0, 1],
      [FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 1],
    ],
  )
  const decoder = newDecoder()
  const heads = frames.filter(it => it.type === FrameType.HEADERS)
  t.same(
    heads.map(it => pairsOf(decoder.decode(it.payload, 0, it.payload.length)!)),
    [
      [
        [':status', '103'],
        ['link', '</a>'],
      ],
      [
        [':status', '200'],
        ['x-a', 'b'],
      ],
      [['grpc-status', '0']],
    ],
  )
  t.equal(rig.connection.streamCount, 0)
})

t.test('a client hears interim, head, data, trailers and end', async t => {
  const rig = readyRig('client')
  const recorder = new Recorder()
  rig.connection.request(fieldsOf(...GET), true, recorder)
  rig.push(headers(1, [':status', '100'], 0), headers(1, [':status', '200'], 0), data(1, 'x'), headers(1, ['a', 'b']))
  t.same(recorder.events, ['interim 100', 'head 200', 'data', 'trailers [["a","b"]]', 'end'])
  t.equal(rig.connection.streamCount, 0)
})

t.test('answers without a body end with their head', async t => {
  const rows = [
    ['HEAD', [':method', 'HEAD', ...GET.slice(2)], '200'],
    ['204', GET, '204'],
    ['304', GET, '304'],
  ] as const
  for (const [title, request, status] of rows) {
    const rig = readyRig('server')
    rig.push(headers(1, request))
    const [stream] = rig.requests
    stream!.sendHead(fieldsOf(':status', status, 'content-length', '5'), false)
    stream!.sendData(Buffer.from('hello'), 0, 5)
    stream!.end()
    const frames = rig.frames()
    t.equal(frames.length, 1, title)
    t.equal(frames[0]!.flags, Flag.END_HEADERS | Flag.END_STREAM)
  }
})

t.test('a client knows which responses have no body', async t => {
  for (const [method, status] of [
    ['HEAD', '200'],
    ['GET', '304'],
  ] as const) {
    const rig = readyRig('client')
    const recorder = new Recorder()
    rig.connection.request(fieldsOf(':method', method, ...GET.slice(2)), true, recorder)
    rig.push(headers(1, [':status', status, 'content-length', '5']))
    t.same(recorder.events, [`head ${status}`, 'end'], `${method} ${status}`)
  }
})

t.test('a head longer than a frame is continued', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, GET))
  rig.requests[0]!.sendHead(fieldsOf(':status', '200', 'x-a', 'v'.repeat(40_000)), true)
  const frames = rig.frames()
  t.same(
    frames.map(it => it.type),
    [FrameType.HEADERS, FrameType.CONTINUATION, FrameType.CONTINUATION],
  )
  t.same(
    frames.map(it => it.flags),
    [Flag.END_STREAM, 0, Flag.END_HEADERS],
  )
  const all = Buffer.concat(frames.map(it => it.payload))
  t.equal(newDecoder().decode(all, 0, all.length)![1]!.value.length, 40_000)
})

t.test('a peer that takes large frames gets a long head in one', async t => {
  const rig = readyRig('server')
  rig.push(settings([5, 1_000_000]), headers(1, GET))
  rig.frames()
  rig.requests[0]!.sendHead(fieldsOf(':status', '200', 'x-a', 'v'.repeat(90_000)), true)
  const [head, ...rest] = rig.frames()
  t.ok(head!.payload.length > 90_000)
  t.same(rest, [])
})

t.test('an answer before the request has ended stops the upload without an error', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, POST, 0), data(1, 'begin'))
  rig.requests[0]!.sendHead(fieldsOf(':status', '413'), true)
  const frames = rig.frames()
  t.same(
    frames.map(it => it.type),
    [FrameType.HEADERS, FrameType.RST_STREAM],
  )
  t.equal(frames[1]!.payload.readUInt32BE(0), ErrorCode.NO_ERROR)
  rig.push(data(1, 'more'), data(1, 'end', Flag.END_STREAM))
  t.same(rig.frames(), [], 'what was under way is ignored')
})

t.test('resets reach the handler once, and only from the other side', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, POST, 0), headers(3, POST, 0), frame(FrameType.RST_STREAM, 0, 1, uint32(ErrorCode.CANCEL)))
  t.same(rig.recorders[0]!.events, ['reset peer 8'])
  rig.requests[1]!.reset(ErrorCode.INTERNAL_ERROR)
  rig.requests[1]!.reset(ErrorCode.INTERNAL_ERROR)
  t.same(rig.recorders[1]!.events, [])
  const resets = rig.frames().filter(it => it.type === FrameType.RST_STREAM)
  t.same(
    resets.map(it => [it.streamId, it.payload.readUInt32BE(0)]),
    [[3, ErrorCode.INTERNAL_ERROR]],
  )
})

t.test('a refused request may be sent again', async t => {
  const rig = readyRig('client')
  const recorders = [new Recorder(), new Recorder()]
  for (const recorder of recorders) rig.connection.request(fieldsOf(...GET), true, recorder)
  rig.push(
    frame(FrameType.RST_STREAM, 0, 1, uint32(ErrorCode.REFUSED_STREAM)),
    frame(FrameType.RST_STREAM, 0, 3, uint32(ErrorCode.CANCEL)),
  )
  t.same(
    recorders.map(it => it.lastReset?.isUnprocessed),
    [true, false],
  )
})

t.test('a server drains in two steps and loses no request', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, GET))
  rig.connection.shutdown()
  rig.connection.shutdown()
  const [first, ping, ...rest] = rig.frames()
  t.equal(first!.payload.readUInt32BE(0), 2 ** 31 - 1, 'announced')
  t.equal(ping!.type, FrameType.PING)
  t.same(rest, [])
  rig.push(headers(3, GET))
  t.equal(rig.requests.length, 2, 'a request that was under way is served')
  rig.push(frame(FrameType.PING, Flag.ACK, 0, ping!.payload))
  const [second] = rig.frames()
  t.equal(second!.type, FrameType.GOAWAY)
  t.equal(second!.payload.readUInt32BE(0), 3, 'the last one that counts')
  rig.push(headers(5, POST, 0), data(5, 'x', Flag.END_STREAM))
  t.equal(rig.requests.length, 2, 'later ones do not')
  t.equal(rig.connection.isOver, false)
  for (const stream of rig.requests) stream.sendHead(fieldsOf(':status', '204'), true)
  t.same(rig.ends, [{ by: 'us', code: ErrorCode.NO_ERROR, detail: 'drained' }])
  t.equal(rig.frames().length, 2, 'both answers left before FIN')
  t.equal(rig.io.hasEnded, true)
})

t.test('a drain does not wait for a peer that answers no PING', async t => {
  const rig = readyRig('server')
  rig.connection.shutdown()
  rig.frames()
  rig.clock.advance(1500)
  t.equal(rig.ends.length, 1)
})

t.test('GOAWAY from a server', async t => {
  const rig = readyRig('client')
  const recorders = [new Recorder(), new Recorder()]
  for (const recorder of recorders) rig.connection.request(fieldsOf(...GET), true, recorder)
  rig.push(goaway(1, ErrorCode.NO_ERROR))
  t.equal(recorders[1]!.lastReset?.isUnprocessed, true, 'a request it did not see may go elsewhere')
  t.equal(rig.connection.canRequest, false)
  t.same(recorders[0]!.events, [], 'the other one goes on')
  rig.push(headers(1, [':status', '204']))
  t.same(recorders[0]!.events, ['head 204', 'end'])
  t.same(rig.ends, [{ by: 'peer', code: ErrorCode.NO_ERROR, detail: 'drained' }])
})

t.test('a client drains: no new requests, and it closes behind the last', async t => {
  const rig = readyRig('client')
  rig.push(settings([8, 1], [1, 0]))
  t.equal(rig.connection.peerAllowsConnectProtocol, true)
  rig.connection.request(fieldsOf(...GET), true, new Recorder())
  t.equal(rig.connection.isClosing, false)
  t.equal(rig.connection.streams.length, 1)
  rig.connection.shutdown()
  t.equal(rig.connection.isClosing, true)
  t.equal(rig.connection.request(fieldsOf(...GET), true, new Recorder()), null)
  t.equal(rig.frames().at(-1)?.type, FrameType.GOAWAY)
  rig.push(headers(1, [':status', '204']))
  t.equal(rig.ends[0]?.detail, 'drained')
  t.equal(rig.io.hasEnded, true)
})

t.test('a connection that is cut says nothing and tells every stream', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, POST, 0))
  rig.connection.destroy('worker stops')
  t.same(rig.frames(), [])
  t.equal(rig.io.isDestroyed, true)
  t.match(rig.recorders[0]!.lastReset, { cause: 'connection', detail: 'worker stops' })
  t.match(rig.ends, [{ by: 'us', detail: 'worker stops' }])
})

t.test('error codes have their names', async t => {
  t.equal(errorCodeName(11), 'ENHANCE_YOUR_CALM')
  t.equal(errorCodeName(0xabc), '0xabc')
})

t.test('a lost transport is told to every stream', async t => {
  const rig = readyRig('client')
  const recorder = new Recorder()
  rig.connection.request(fieldsOf(...GET), true, recorder)
  rig.connection.transportClosed('ECONNRESET')
  t.match(recorder.lastReset, { cause: 'connection', detail: 'ECONNRESET', isUnprocessed: false })
  t.equal(rig.ends[0]?.by, 'transport')
  t.equal(rig.connection.request(fieldsOf(...GET), true, recorder), null)
})

t.test('a connection error is explained and told to every stream once', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, POST, 0), headers(3, POST, 0), frame(FrameType.PING, 0, 0, Buffer.alloc(3)))
  const last = rig.frames().at(-1)!
  t.equal(last.payload.readUInt32BE(0), 3)
  t.equal(last.payload.toString('latin1', 8), 'PING is not 8 octets long')
  for (const recorder of rig.recorders) t.same(recorder.events, ['reset connection 6'])
  rig.push(headers(5, GET))
  t.equal(rig.requests.length, 2, 'nothing more is read')
})

t.test('calls on a stream that is over are ignored', async t => {
  const rig = readyRig('server')
  rig.push(headers(1, GET))
  const [stream] = rig.requests
  stream!.sendHead(fieldsOf(':status', '204'), true)
  rig.frames()
  stream!.sendHead(fieldsOf(':status', '200'), false)
  t.equal(stream!.sendData(Buffer.from('x'), 0, 1), true)
  stream!.sendTrailers(fieldsOf('a', 'b'))
  stream!.end()
  stream!.reset(ErrorCode.CANCEL)
  t.same(rig.frames(), [])
})

t.test('pings are answered with their payload', async t => {
  const rig = readyRig('server')
  rig.push(frame(FrameType.PING, 0, 0, Buffer.from('12345678')))
  const [pong] = rig.frames()
  t.equal(pong!.flags, Flag.ACK)
  t.equal(pong!.payload.toString(), '12345678')
})

t.test('the preface is told from HTTP/1.1 as early as possible', async t => {
  const guess = (text: string): string => guessPreface(Buffer.from(text), 0, text.length)
  t.equal(guess(''), 'more')
  t.equal(guess('P'), 'more')
  t.equal(guess('PRI * HTTP/2.0\r\n\r\nSM\r\n\r'), 'more')
  t.equal(guess(PREFACE.toString('latin1')), 'h2')
  t.equal(guess(`${PREFACE.toString('latin1')}rest`), 'h2')
  t.equal(guess('POST / HTTP/1.1'), 'not-h2')
  t.equal(guess('PRI * HTTP/1.1\r\n'), 'not-h2')
  t.equal(guess('GET'), 'not-h2')
})

t.test('a callback that throws does not silence the other connections', async t => {
  const runs: (() => void)[] = []
  const scheduler = new TurnScheduler(run => void runs.push(run))
  const flushed: string[] = []
  scheduler.add({
    flush: () => {
      throw new Error('boom')
    },
  })
  scheduler.add({ flush: () => void flushed.push('other') })
  t.throws(() => runs.shift()!(), { message: 'boom' })
  runs.shift()!()
  t.same(flushed, ['other'])
})
