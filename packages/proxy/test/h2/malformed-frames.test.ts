import t from 'tap'
import { ErrorCode } from '../../src/h2/index.ts'
import { Recorder, Rig, readyRig } from './support/rig.ts'
import {
  block,
  data,
  Flag,
  type Frame,
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

const { PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR, ENHANCE_YOUR_CALM } =
  ErrorCode
const { END_STREAM, END_HEADERS, PADDED, ACK } = Flag
const PRIORITY_FLAG = Flag.PRIORITY

/** `connection CODE` from a GOAWAY, `stream ID CODE` from each RST_STREAM. */
function verdictOf(frames: readonly Frame[]): string {
  const words: string[] = []
  for (const it of frames) {
    if (it.type === FrameType.GOAWAY) words.push(`connection ${it.payload.readUInt32BE(4)}`)
    if (it.type === FrameType.RST_STREAM) words.push(`stream ${it.streamId} ${it.payload.readUInt32BE(0)}`)
  }
  return words.join(', ')
}

const ping = frame(FrameType.PING, 0, 0, Buffer.alloc(8))
const open = headers(1, POST, 0)
const whole = headers(1, GET)

const SERVER_ROWS: readonly (readonly [title: string, bytes: Buffer[], verdict: string])[] = [
  ['DATA on stream 0', [data(0, 'x')], `connection ${PROTOCOL_ERROR}`],
  ['HEADERS on stream 0', [headers(0, GET)], `connection ${PROTOCOL_ERROR}`],
  ['PRIORITY on stream 0', [frame(FrameType.PRIORITY, 0, 0, Buffer.alloc(5))], `connection ${PROTOCOL_ERROR}`],
  ['RST_STREAM on stream 0', [frame(FrameType.RST_STREAM, 0, 0, uint32(8))], `connection ${PROTOCOL_ERROR}`],
  ['CONTINUATION on stream 0', [frame(FrameType.CONTINUATION, END_HEADERS, 0)], `connection ${PROTOCOL_ERROR}`],
  ['SETTINGS on a stream', [frame(FrameType.SETTINGS, 0, 1)], `connection ${PROTOCOL_ERROR}`],
  ['PING on a stream', [frame(FrameType.PING, 0, 1, Buffer.alloc(8))], `connection ${PROTOCOL_ERROR}`],
  ['GOAWAY on a stream', [frame(FrameType.GOAWAY, 0, 1, uint32(0, 0))], `connection ${PROTOCOL_ERROR}`],
  [
    'PUSH_PROMISE from a client',
    [frame(FrameType.PUSH_PROMISE, END_HEADERS, 1, uint32(2))],
    `connection ${PROTOCOL_ERROR}`,
  ],
  ['a frame of 16,385 octets', [frame(FrameType.DATA, 0, 1, Buffer.alloc(16_385))], `connection ${FRAME_SIZE_ERROR}`],
  ['an unknown frame of 16,385 octets', [frame(0x42, 0, 1, Buffer.alloc(16_385))], `connection ${FRAME_SIZE_ERROR}`],
  ['PING of 7 octets', [frame(FrameType.PING, 0, 0, Buffer.alloc(7))], `connection ${FRAME_SIZE_ERROR}`],
  ['SETTINGS of 5 octets', [frame(FrameType.SETTINGS, 0, 0, Buffer.alloc(5))], `connection ${FRAME_SIZE_ERROR}`],
  [
    'an acknowledgement with a payload',
    [frame(FrameType.SETTINGS, ACK, 0, Buffer.alloc(6))],
    `connection ${FRAME_SIZE_ERROR}`,
  ],
  ['an acknowledgement nobody waits for', [frame(FrameType.SETTINGS, ACK, 0)], `connection ${PROTOCOL_ERROR}`],
  [
    'RST_STREAM of 3 octets',
    [open, frame(FrameType.RST_STREAM, 0, 1, Buffer.alloc(3))],
    `connection ${FRAME_SIZE_ERROR}`,
  ],
  [
    'WINDOW_UPDATE of 5 octets',
    [frame(FrameType.WINDOW_UPDATE, 0, 0, Buffer.alloc(5))],
    `connection ${FRAME_SIZE_ERROR}`,
  ],
  ['GOAWAY of 7 octets', [frame(FrameType.GOAWAY, 0, 0, Buffer.alloc(7))], `connection ${FRAME_SIZE_ERROR}`],
  [
    'PRIORITY of 4 octets on an open stream',
    [open, frame(FrameType.PRIORITY, 0, 1, Buffer.alloc(4))],
    `stream 1 ${FRAME_SIZE_ERROR}`,
  ],
  ['padded DATA without a pad length', [open, frame(FrameType.DATA, PADDED, 1)], `connection ${FRAME_SIZE_ERROR}`],
  [
    'padded HEADERS without a pad length',
    [frame(FrameType.HEADERS, PADDED | END_HEADERS, 1)],
    `connection ${FRAME_SIZE_ERROR}`,
  ],
  [
    'HEADERS too short for its priority',
    [frame(FrameType.HEADERS, PRIORITY_FLAG | END_HEADERS, 1, Buffer.alloc(4))],
    `connection ${FRAME_SIZE_ERROR}`,
  ],
  [
    'DATA padding as long as the frame',
    [open, frame(FrameType.DATA, PADDED, 1, Buffer.from([1]))],
    `connection ${PROTOCOL_ERROR}`,
  ],
  [
    'HEADERS padding longer than the block',
    [frame(FrameType.HEADERS, PADDED | END_HEADERS, 1, Buffer.from([2, 0x82]))],
    `connection ${PROTOCOL_ERROR}`,
  ],
  [
    'HEADERS padding that reaches into the priority',
    [frame(FrameType.HEADERS, PADDED | PRIORITY_FLAG | END_HEADERS, 1, Buffer.from([1, 0, 0, 0, 0, 0]))],
    `connection ${PROTOCOL_ERROR}`,
  ],
  ['SETTINGS_ENABLE_PUSH of 2', [settings([2, 2])], `connection ${PROTOCOL_ERROR}`],
  ['SETTINGS_INITIAL_WINDOW_SIZE of 2^31', [settings([4, 2 ** 31])], `connection ${FLOW_CONTROL_ERROR}`],
  ['SETTINGS_MAX_FRAME_SIZE of 16,383', [settings([5, 16_383])], `connection ${PROTOCOL_ERROR}`],
  ['SETTINGS_MAX_FRAME_SIZE of 2^24', [settings([5, 2 ** 24])], `connection ${PROTOCOL_ERROR}`],
  ['SETTINGS_ENABLE_CONNECT_PROTOCOL of 2', [settings([8, 2])], `connection ${PROTOCOL_ERROR}`],
  ['SETTINGS_ENABLE_CONNECT_PROTOCOL withdrawn', [settings([8, 1]), settings([8, 0])], `connection ${PROTOCOL_ERROR}`],
  [
    'a new initial window that overflows a stream',
    [open, frame(FrameType.WINDOW_UPDATE, 0, 1, uint32(2 ** 31 - 1 - 65_535)), settings([4, 65_536])],
    `connection ${FLOW_CONTROL_ERROR}`,
  ],
  [
    'WINDOW_UPDATE of 0 on the connection',
    [frame(FrameType.WINDOW_UPDATE, 0, 0, uint32(0))],
    `connection ${PROTOCOL_ERROR}`,
  ],
  [
    'WINDOW_UPDATE of 0 on a stream',
    [open, frame(FrameType.WINDOW_UPDATE, 0, 1, uint32(0))],
    `stream 1 ${PROTOCOL_ERROR}`,
  ],
  [
    'WINDOW_UPDATE that overflows the connection',
    [frame(FrameType.WINDOW_UPDATE, 0, 0, uint32(2 ** 31 - 1))],
    `connection ${FLOW_CONTROL_ERROR}`,
  ],
  [
    'WINDOW_UPDATE that overflows a stream',
    [open, frame(FrameType.WINDOW_UPDATE, 0, 1, uint32(2 ** 31 - 1))],
    `stream 1 ${FLOW_CONTROL_ERROR}`,
  ],
  ['DATA on an idle stream', [data(1, 'x')], `connection ${PROTOCOL_ERROR}`],
  ['RST_STREAM on an idle stream', [frame(FrameType.RST_STREAM, 0, 1, uint32(8))], `connection ${PROTOCOL_ERROR}`],
  [
    'WINDOW_UPDATE on an idle stream',
    [frame(FrameType.WINDOW_UPDATE, 0, 1, uint32(1))],
    `connection ${PROTOCOL_ERROR}`,
  ],
  [
    'WINDOW_UPDATE on a stream of ours',
    [frame(FrameType.WINDOW_UPDATE, 0, 2, uint32(1))],
    `connection ${PROTOCOL_ERROR}`,
  ],
  ['CONTINUATION without HEADERS', [frame(FrameType.CONTINUATION, END_HEADERS, 1)], `connection ${PROTOCOL_ERROR}`],
  [
    'CONTINUATION behind a finished block',
    [open, frame(FrameType.CONTINUATION, END_HEADERS, 1)],
    `connection ${PROTOCOL_ERROR}`,
  ],
  ['PING inside a field block', [frame(FrameType.HEADERS, 0, 1, block(...GET)), ping], `connection ${PROTOCOL_ERROR}`],
  [
    'an unknown frame inside a field block',
    [frame(FrameType.HEADERS, 0, 1, block(...GET)), frame(0x42, 0, 1)],
    `connection ${PROTOCOL_ERROR}`,
  ],
  [
    'CONTINUATION of another stream',
    [frame(FrameType.HEADERS, 0, 1, block(...GET)), frame(FrameType.CONTINUATION, END_HEADERS, 3)],
    `connection ${PROTOCOL_ERROR}`,
  ],
  ['HEADERS on an even stream', [headers(2, GET)], `connection ${PROTOCOL_ERROR}`],
  ['HEADERS on a stream below one used already', [headers(5, GET), headers(3, GET)], `connection ${PROTOCOL_ERROR}`],
  ['HEADERS behind END_STREAM', [whole, headers(1, GET)], `stream 1 ${STREAM_CLOSED}`],
  ['DATA behind END_STREAM', [whole, data(1, 'x')], `stream 1 ${STREAM_CLOSED}`],
  [
    'DATA behind RST_STREAM of its sender',
    [open, frame(FrameType.RST_STREAM, 0, 1, uint32(8)), data(1, 'x')],
    `connection ${STREAM_CLOSED}`,
  ],
  [
    'HEADERS behind RST_STREAM of its sender',
    [open, frame(FrameType.RST_STREAM, 0, 1, uint32(8)), headers(1, GET)],
    `connection ${STREAM_CLOSED}`,
  ],
  ['trailers without END_STREAM', [open, headers(1, ['x-a', 'b'], 0)], `stream 1 ${PROTOCOL_ERROR}`],
  ['a pseudo-header field in trailers', [open, headers(1, [':method', 'GET'])], `stream 1 ${PROTOCOL_ERROR}`],
  ['an upper-case name in trailers', [open, headers(1, ['X-A', 'b'])], `stream 1 ${PROTOCOL_ERROR}`],
  ['content-length in trailers', [open, headers(1, ['content-length', '0'])], `stream 1 ${PROTOCOL_ERROR}`],
  [
    'more DATA than content-length',
    [headers(1, [...POST, 'content-length', '3'], 0), data(1, 'abcd')],
    `stream 1 ${PROTOCOL_ERROR}`,
  ],
  [
    'less DATA than content-length',
    [headers(1, [...POST, 'content-length', '3'], 0), data(1, 'ab', END_STREAM)],
    `stream 1 ${PROTOCOL_ERROR}`,
  ],
  [
    'less DATA than content-length before trailers',
    [headers(1, [...POST, 'content-length', '3'], 0), data(1, 'ab'), headers(1, ['x-a', 'b'])],
    `stream 1 ${PROTOCOL_ERROR}`,
  ],
  [
    'an index beyond the table',
    [frame(FrameType.HEADERS, END_HEADERS | END_STREAM, 1, Buffer.from([0xbe]))],
    `connection ${COMPRESSION_ERROR}`,
  ],
  [
    'a malformed block on a stream that was reset',
    [headers(1, [':method', 'GET']), frame(FrameType.HEADERS, END_HEADERS, 1, Buffer.from([0x80]))],
    `stream 1 ${PROTOCOL_ERROR}, connection ${COMPRESSION_ERROR}`,
  ],
  [
    'a table larger than announced',
    [frame(FrameType.HEADERS, END_HEADERS | END_STREAM, 1, Buffer.from([0x3f, 0xe2, 0x1f]))],
    `connection ${COMPRESSION_ERROR}`,
  ],
  [
    '17 CONTINUATION frames',
    [frame(FrameType.HEADERS, 0, 1), ...Array.from({ length: 17 }, () => frame(FrameType.CONTINUATION, 0, 1))],
    `connection ${ENHANCE_YOUR_CALM}`,
  ],
  [
    'a field block of 96 KiB',
    [
      frame(FrameType.HEADERS, 0, 1),
      ...Array.from({ length: 6 }, () => frame(FrameType.CONTINUATION, 0, 1, Buffer.alloc(16_384))),
    ],
    `connection ${ENHANCE_YOUR_CALM}`,
  ],
]

for (const [title, bytes, verdict] of SERVER_ROWS) {
  t.test(`a server refuses ${title}`, async t => {
    const rig = readyRig('server')
    rig.push(...bytes)
    t.equal(verdictOf(rig.frames()), verdict)
    t.equal(rig.io.hasEnded, verdict.includes('connection'), 'closes if and only if the connection is at fault')
    if (!rig.io.hasEnded) {
      rig.push(ping)
      t.equal(rig.frames().at(-1)?.type, FrameType.PING, 'the rest of the connection goes on')
    }
  })
}

const CLIENT_ROWS: readonly (readonly [title: string, bytes: Buffer[], verdict: string])[] = [
  ['PUSH_PROMISE', [frame(FrameType.PUSH_PROMISE, END_HEADERS, 1, uint32(2))], `connection ${PROTOCOL_ERROR}`],
  ['HEADERS on a stream it did not open', [headers(3, [':status', '200'])], `connection ${PROTOCOL_ERROR}`],
  ['HEADERS on a stream of the server', [headers(2, [':status', '200'])], `connection ${PROTOCOL_ERROR}`],
  ['DATA before the head', [data(1, 'x')], `stream 1 ${PROTOCOL_ERROR}`],
  ['a response without :status', [headers(1, ['x-a', 'b'])], `stream 1 ${PROTOCOL_ERROR}`],
  ['two :status', [headers(1, [':status', '200', ':status', '200'])], `stream 1 ${PROTOCOL_ERROR}`],
  [':status behind a field', [headers(1, ['x-a', 'b', ':status', '200'])], `stream 1 ${PROTOCOL_ERROR}`],
  [':status of two digits', [headers(1, [':status', '20'])], `stream 1 ${PROTOCOL_ERROR}`],
  [':path in a response', [headers(1, [':status', '200', ':path', '/'])], `stream 1 ${PROTOCOL_ERROR}`],
  ['status 101', [headers(1, [':status', '101'], 0)], `stream 1 ${PROTOCOL_ERROR}`],
  ['a 1xx response with END_STREAM', [headers(1, [':status', '103'])], `stream 1 ${PROTOCOL_ERROR}`],
  [
    '65 responses 103',
    Array.from({ length: 65 }, () => headers(1, [':status', '103'], 0)),
    `stream 1 ${PROTOCOL_ERROR}`,
  ],
  ['connection in a response', [headers(1, [':status', '200', 'connection', 'close'])], `stream 1 ${PROTOCOL_ERROR}`],
  [
    'transfer-encoding in a response',
    [headers(1, [':status', '200', 'transfer-encoding', 'chunked'])],
    `stream 1 ${PROTOCOL_ERROR}`,
  ],
  [
    'content-length with an early end',
    [headers(1, [':status', '200', 'content-length', '5'])],
    `stream 1 ${PROTOCOL_ERROR}`,
  ],
  ['a body behind 204', [headers(1, [':status', '204'], 0), data(1, 'x', END_STREAM)], `stream 1 ${PROTOCOL_ERROR}`],
  ['SETTINGS_ENABLE_PUSH of 1 from a server', [settings([2, 1])], `connection ${PROTOCOL_ERROR}`],
  [
    'a head beyond the list limit',
    [headers(1, [':status', '200', 'x-a', 'v'.repeat(9000), 'x-b', 'v'.repeat(7000)])],
    `stream 1 ${PROTOCOL_ERROR}`,
  ],
]

for (const [title, bytes, verdict] of CLIENT_ROWS) {
  t.test(`a client refuses ${title}`, async t => {
    const rig = readyRig('client', { limits: { headerListBytesMax: 12_000 } })
    const recorder = new Recorder()
    rig.connection.request(fieldsOf(...GET), true, recorder)
    rig.frames()
    rig.push(...bytes)
    t.equal(verdictOf(rig.frames()), verdict)
    t.match(recorder.events.at(-1), /^reset (malformed|connection)/, 'and its handler hears of it')
  })
}

t.test('the first frame must be SETTINGS', async t => {
  for (const first of [ping, frame(FrameType.SETTINGS, ACK, 0), headers(1, GET)]) {
    const rig = new Rig('server')
    rig.push(PREFACE, first)
    t.equal(verdictOf(rig.frames()), `connection ${PROTOCOL_ERROR}`)
  }
})

t.test('what is unusual but right is accepted', async t => {
  const rows: readonly (readonly [title: string, bytes: Buffer[]])[] = [
    ['an unknown frame type', [frame(0x42, 0xff, 0, Buffer.alloc(10)), frame(0x42, 0xff, 9)]],
    ['an unknown setting', [settings([0xfafa, 1])]],
    ['undefined flags', [frame(FrameType.PING, 0xfe, 0, Buffer.alloc(8))]],
    ['PRIORITY on an idle stream', [frame(FrameType.PRIORITY, 0, 99, Buffer.alloc(5))]],
    [
      'padding and priority in HEADERS',
      [
        frame(
          FrameType.HEADERS,
          END_STREAM | END_HEADERS | PADDED | PRIORITY_FLAG,
          7,
          Buffer.concat([Buffer.from([3]), Buffer.alloc(5), block(...GET), Buffer.alloc(3)]),
        ),
      ],
    ],
    [
      'empty CONTINUATION frames',
      [
        frame(FrameType.HEADERS, END_STREAM, 7, block(...GET)),
        frame(FrameType.CONTINUATION, 0, 7),
        frame(FrameType.CONTINUATION, END_HEADERS, 7),
      ],
    ],
    [
      'WINDOW_UPDATE and RST_STREAM on a closed stream',
      [
        open,
        frame(FrameType.RST_STREAM, 0, 1, uint32(8)),
        frame(FrameType.WINDOW_UPDATE, 0, 1, uint32(5)),
        frame(FrameType.RST_STREAM, 0, 1, uint32(8)),
      ],
    ],
    ['DATA under way to a stream that we reset', [headers(1, ['x-a', 'b'], 0), data(1, 'x'), headers(1, ['x-a', 'b'])]],
    ['DATA and nothing but padding', [open, frame(FrameType.DATA, PADDED | END_STREAM, 1, Buffer.from([2, 0, 0]))]],
    ['the largest window there is', [frame(FrameType.WINDOW_UPDATE, 0, 0, uint32(2 ** 31 - 1 - 65_535))]],
  ]
  for (const [title, bytes] of rows) {
    const rig = readyRig('server')
    rig.push(...bytes, frame(FrameType.PING, 0, 0, Buffer.from('are-you?')))
    t.equal(rig.frames().at(-1)?.payload.toString(), 'are-you?', title)
  }
})
