import { createPrng, type Prng } from '@waiter/base'
import t, { type Test } from 'tap'
import {
  data,
  Flag,
  FrameType,
  frame,
  headers,
  newDecoder,
  PREFACE,
  pairsOf,
  parseFrames,
  settings,
} from '../h2/support/wire.ts'
import { createHarness, type Harness } from '../support/harness.ts'
import type { RawPeer } from '../support/raw-peer.ts'

const ROUNDS = 25
const SEED = 20_261_127

const pick = <T>(prng: Prng, values: readonly T[]): T => values[prng.below(values.length)] as T
const letters = (prng: Prng, lengthMax: number): string =>
  Array.from({ length: prng.below(lengthMax) }, () => String.fromCharCode(97 + prng.below(26))).join('')

/** How bytes are cut: in one piece, at random places, or (when there are few) one by one. */
type Cuts = (bytes: Buffer) => readonly number[]
const WHOLE: Cuts = () => []
const randomCuts =
  (prng: Prng): Cuts =>
  bytes =>
    Array.from({ length: 1 + prng.below(12) }, () => prng.below(bytes.length + 1))
const singly: Cuts = bytes => Array.from({ length: Math.min(bytes.length, 400) }, (_, at) => at)

/** Writes piece by piece, each in a turn of its own, so that they mostly arrive one by one. */
async function writePieces(peer: RawPeer, bytes: Buffer, cuts: Cuts): Promise<void> {
  let from = 0
  for (const cut of [...cuts(bytes), bytes.length].sort((one, other) => one - other)) {
    if (cut <= from) continue
    peer.write(bytes.subarray(from, cut))
    from = cut
    await new Promise(resolve => setImmediate(resolve))
  }
}

function chunked(prng: Prng, payload: string, trailers: string): string {
  let text = ''
  for (let rest = payload; rest !== ''; ) {
    const size = 1 + prng.below(rest.length)
    text += `${size.toString(16)}${pick(prng, ['', ';a=b'])}\r\n${rest.slice(0, size)}\r\n`
    rest = rest.slice(size)
  }
  return `${text}0\r\n${trailers}\r\n`
}

/** What a backend does with one request. */
interface Answer {
  readonly isHead: boolean
  /** Sent as soon as the head is there. */
  readonly early: string
  /** Sent once all of the request is there. */
  readonly late: string
}

interface Conversation {
  readonly requests: string
  readonly answers: readonly Answer[]
}

function randomRequest(prng: Prng, at: number, isLast: boolean): { readonly method: string; readonly text: string } {
  const payload = letters(prng, 60)
  const framed = pick(prng, [
    { field: '', body: '', methods: ['GET', 'HEAD', 'DELETE'] },
    { field: `Content-Length: ${payload.length}\r\n`, body: payload, methods: ['POST', 'PUT'] },
    {
      field: 'Transfer-Encoding: chunked\r\n',
      body: chunked(prng, payload, pick(prng, ['', 'X-Sum: 1\r\n', 'A: b\r\nC: d\r\n'])),
      methods: ['POST', 'PUT'],
    },
  ])
  const method = pick(prng, framed.methods)
  const expects = framed.body !== '' && prng.below(3) === 0 ? 'Expect: 100-continue\r\n' : ''
  const last = isLast ? 'Connection: close\r\n' : ''
  const head = `${method} /${at} HTTP/1.1\r\nHost: a.example\r\nX-N: ${at}\r\n${expects}${framed.field}${last}\r\n`
  return { method, text: head + framed.body }
}

function randomAnswer(prng: Prng, method: string): Answer {
  const payload = letters(prng, 200)
  const isHead = method === 'HEAD'
  const interim = pick(prng, [
    '',
    '',
    'HTTP/1.1 100 Continue\r\n\r\n',
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n',
  ])
  const framed = pick(prng, [
    { status: '200 OK', field: `Content-Length: ${payload.length}\r\n`, body: payload },
    {
      status: '404 Not Found',
      field: 'Transfer-Encoding: chunked\r\n',
      body: chunked(prng, payload, pick(prng, ['', 'X-Sum: 1\r\n'])),
    },
    { status: '204 No Content', field: '', body: '' },
    { status: '304 Not Modified', field: `ETag: "1"\r\n`, body: '' },
  ])
  const head = `HTTP/1.1 ${framed.status}\r\nX-A: 1\r\n${framed.field}\r\n`
  const body = isHead ? '' : framed.body
  // An early answer begins before the body of the request has come, and ends after it.
  return body.length > 5 && prng.below(2) === 0
    ? { isHead, early: interim + head + body.slice(0, 5), late: body.slice(5) }
    : { isHead, early: interim, late: head + body }
}

function randomConversation(prng: Prng): Conversation {
  const count = 1 + prng.below(5)
  const answers: Answer[] = []
  let requests = ''
  for (let at = 0; at < count; at++) {
    const { method, text } = randomRequest(prng, at, at === count - 1)
    requests += text
    answers.push(randomAnswer(prng, method))
  }
  return { requests, answers }
}

/** Answers whatever comes on a connection as `answers` says, and keeps what each request was. */
class ScriptedBackend {
  readonly seen: string[] = []
  readonly #answers: readonly Answer[]
  readonly #cuts: Cuts
  #writing: Promise<void> = Promise.resolve()

  constructor(answers: readonly Answer[], cuts: Cuts) {
    this.#answers = answers
    this.#cuts = cuts
  }

  serve(peer: RawPeer): void {
    let isAnswered = false
    peer.socket.on('error', () => undefined)
    peer.socket.on('data', () => {
      const { text } = peer
      const headEnd = text.indexOf('\r\n\r\n')
      if (headEnd === -1) return
      const at = Number(/\r\nx-n: (\d+)/i.exec(text)?.[1])
      const answer = this.#answers[at] as Answer
      if (!isAnswered) this.#write(peer, answer.early)
      isAnswered = true
      if (!isWhole(text.slice(0, headEnd), text.slice(headEnd + 4))) return
      this.seen[at] = peer.take()
      isAnswered = false
      this.#write(peer, answer.late)
    })
  }

  #write(peer: RawPeer, text: string): void {
    if (text === '') return
    this.#writing = this.#writing.then(() => writePieces(peer, Buffer.from(text, 'latin1'), this.#cuts))
  }
}

function isWhole(head: string, body: string): boolean {
  if (/\r\ntransfer-encoding: chunked/i.test(head)) return /(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n$/.test(body)
  return body.length >= Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
}

/** One conversation through the relay; what the backend got, and what the client did. */
async function converse(
  harness: Harness,
  { requests, answers }: Conversation,
  cuts: { readonly client: Cuts; readonly backend: Cuts },
): Promise<string> {
  const backend = new ScriptedBackend(answers, cuts.backend)
  harness.backend.onPeer = peer => backend.serve(peer)
  const kinds: string[] = []
  harness.onExchange = exchange => exchange.forward(harness.target(({ kind }) => void kinds.push(kind)))
  const client = await harness.client()
  await writePieces(client, Buffer.from(requests, 'latin1'), cuts.client)
  await client.ended()
  client.socket.destroy()
  for (const peer of harness.backend.peers.splice(0)) peer.socket.destroy()
  return JSON.stringify({ kinds, client: client.text, backend: backend.seen }, null, 1)
}

/** Thousands of assertions would bury those that say something. */
function expectSame(t: Test, found: string, whole: string, what: string): void {
  if (found !== whole) t.equal(found, whole, what)
}

t.test('pipelined requests, trailers, interim and early answers: any segmentation gives the same bytes', async t => {
  const harness = await createHarness(t)
  const prng = createPrng(SEED)
  const occurred = { early: 0, continued: 0, trailers: 0, pipelined: 0 }
  for (let round = 0; round < ROUNDS; round++) {
    const conversation = randomConversation(prng)
    const whole = await converse(harness, conversation, { client: WHOLE, backend: WHOLE })
    t.equal(whole.match(/"completed"/g)?.length, conversation.answers.length, `round ${round}: all answered`)
    if (conversation.answers.length > 1) occurred.pipelined += 1
    if (conversation.answers.some(({ early }) => early.includes('X-A'))) occurred.early += 1
    if (conversation.requests.includes('Expect')) occurred.continued += 1
    if (/0\\r\\nX-Sum/i.test(whole)) occurred.trailers += 1
    for (const cuts of [
      { client: randomCuts(prng), backend: WHOLE },
      { client: WHOLE, backend: randomCuts(prng) },
      { client: randomCuts(prng), backend: randomCuts(prng) },
      { client: singly, backend: singly },
    ])
      expectSame(t, await converse(harness, conversation, cuts), whole, `round ${round}: ${conversation.requests}`)
  }
  for (const [what, count] of Object.entries(occurred)) t.ok(count > 4, `${what}: ${count} times`)
})

/** Where one message's body was cut into chunks depends on how it came; payloads here are letters. */
const withoutChunks = (text: string): string => text.replaceAll(/(?<=\r\n)[0-9a-f]+\r\n([a-z]+)\r\n/g, '$1')

function wholeFrames(bytes: Buffer): ReturnType<typeof parseFrames> {
  const start = bytes.indexOf(PREFACE) === 0 ? PREFACE.length : 0
  let end = start
  while (end + 9 <= bytes.length && end + 9 + bytes.readUIntBE(end, 3) <= bytes.length)
    end += 9 + bytes.readUIntBE(end, 3)
  return parseFrames(bytes.subarray(start, end))
}

/** What a peer was sent, stream by stream: fields, data, trailers and the end. */
function readStreams(bytes: Buffer): Map<number, { text: string; hasEnded: boolean }> {
  const streams = new Map<number, { text: string; hasEnded: boolean }>()
  const decoder = newDecoder()
  for (const { type, flags, streamId, payload } of wholeFrames(bytes)) {
    if (type !== FrameType.HEADERS && type !== FrameType.DATA && type !== FrameType.RST_STREAM) continue
    const stream = streams.get(streamId) ?? { text: '', hasEnded: false }
    streams.set(streamId, stream)
    if (type === FrameType.HEADERS) {
      stream.text += `${JSON.stringify(pairsOf(decoder.decode(payload, 0, payload.length) ?? []))}\n`
    } else if (type === FrameType.DATA) stream.text += payload.toString('latin1')
    else stream.text += `reset ${payload.readUInt32BE()}`
    stream.hasEnded ||= type === FrameType.RST_STREAM || (flags & Flag.END_STREAM) !== 0
  }
  return streams
}

function dataFrames(prng: Prng, streamId: number, payload: string, isLast: boolean): Buffer {
  const frames: Buffer[] = []
  for (let rest = payload; rest !== ''; ) {
    const size = 1 + prng.below(rest.length)
    const padding = prng.below(3) === 0 ? prng.below(20) : -1
    const piece = Buffer.from(rest.slice(0, size))
    frames.push(
      padding < 0
        ? data(streamId, piece)
        : data(streamId, Buffer.concat([Buffer.from([padding]), piece, Buffer.alloc(padding)]), Flag.PADDED),
    )
    rest = rest.slice(size)
  }
  if (isLast) frames.push(data(streamId, '', Flag.END_STREAM))
  return Buffer.concat(frames)
}

/** A head, perhaps in several frames, which nothing may come between. */
function headFrames(prng: Prng, streamId: number, fields: readonly string[], flags: number): Buffer {
  const whole = headers(streamId, fields, flags)
  if (prng.below(2) === 0) return whole
  const block = whole.subarray(9)
  const cut = prng.below(block.length)
  return Buffer.concat([
    frame(FrameType.HEADERS, flags, streamId, block.subarray(0, cut)),
    frame(FrameType.CONTINUATION, Flag.END_HEADERS, streamId, block.subarray(cut)),
  ])
}

function randomHttp2Requests(prng: Prng, count: number): Buffer {
  const frames = [PREFACE, settings()]
  for (let at = 0; at < count; at++) {
    const streamId = at * 2 + 1
    const hasBody = prng.below(2) === 0
    const fields = [
      ':method',
      hasBody ? 'POST' : 'GET',
      ':scheme',
      'http',
      ':path',
      `/${at}`,
      ':authority',
      'a.example',
    ]
    frames.push(headFrames(prng, streamId, [...fields, 'x-n', String(at)], hasBody ? 0 : Flag.END_STREAM))
    if (!hasBody) continue
    const hasTrailers = prng.below(2) === 0
    frames.push(dataFrames(prng, streamId, letters(prng, 80), !hasTrailers))
    if (prng.below(2) === 0) frames.push(frame(FrameType.PING, 0, 0, Buffer.alloc(8)))
    if (hasTrailers) frames.push(headFrames(prng, streamId, ['x-sum', '1'], Flag.END_STREAM))
  }
  return Buffer.concat(frames)
}

t.test('HTTP/2 frames from a client: any segmentation comes to the same on every stream', async t => {
  const harness = await createHarness(t)
  const prng = createPrng(SEED + 1)
  const run = async (bytes: Buffer, answers: readonly Answer[], cuts: { client: Cuts; backend: Cuts }) => {
    const backend = new ScriptedBackend(answers, cuts.backend)
    harness.backend.onPeer = peer => backend.serve(peer)
    const kinds: string[] = []
    harness.onExchange = exchange => exchange.forward(harness.target(({ kind }) => void kinds.push(kind)))
    const client = await harness.client()
    await writePieces(client, bytes, cuts.client)
    const streams = () => readStreams(client.received)
    await client.when(() => [...streams().values()].filter(({ hasEnded }) => hasEnded).length === answers.length)
    const told = [...streams()].sort(([one], [other]) => one - other)
    client.socket.destroy()
    for (const peer of harness.backend.peers.splice(0)) peer.socket.destroy()
    return JSON.stringify({ kinds, told, backend: backend.seen.map(withoutChunks) }, null, 1)
  }
  for (let round = 0; round < ROUNDS; round++) {
    const answers = Array.from({ length: 1 + prng.below(4) }, () => randomAnswer(prng, 'GET'))
    const bytes = randomHttp2Requests(prng, answers.length)
    const whole = await run(bytes, answers, { client: WHOLE, backend: WHOLE })
    t.equal(whole.match(/"completed"/g)?.length, answers.length, `round ${round}: all answered`)
    for (const cuts of [
      { client: randomCuts(prng), backend: randomCuts(prng) },
      { client: singly, backend: WHOLE },
    ])
      expectSame(t, await run(bytes, answers, cuts), whole, `round ${round}`)
  }
})

/** An HTTP/2 backend that sends prepared frames on every stream, cut anew. */
function serveHttp2(peer: RawPeer, answerOf: (streamId: number) => Buffer, cuts: Cuts): void {
  const answered = new Set<number>()
  peer.socket.on('error', () => undefined)
  let writing = writePieces(peer, settings(), WHOLE)
  peer.socket.on('data', () => {
    for (const [streamId, { hasEnded }] of readStreams(peer.received)) {
      if (!hasEnded || answered.has(streamId)) continue
      answered.add(streamId)
      writing = writing.then(() => writePieces(peer, answerOf(streamId), cuts))
    }
  })
}

function randomHttp2Answer(prng: Prng): (streamId: number) => Buffer {
  const payload = letters(prng, 150)
  const length = prng.below(2) === 0 ? ['content-length', String(payload.length)] : []
  const hasTrailers = prng.below(2) === 0
  const seed = prng.below(1_000_000)
  return streamId => {
    const own = createPrng(seed)
    const early = own.below(2) === 0 ? [headFrames(own, streamId, [':status', '103', 'link', '</a>'], 0)] : []
    return Buffer.concat([
      ...early,
      headFrames(own, streamId, [':status', '200', 'x-a', '1', ...length], 0),
      dataFrames(own, streamId, payload, !hasTrailers),
      ...(hasTrailers ? [headFrames(own, streamId, ['x-sum', '1'], Flag.END_STREAM)] : []),
    ])
  }
}

t.test('HTTP/2 frames from a backend: any segmentation reaches an HTTP/1.1 client as the same', async t => {
  const harness = await createHarness(t)
  const prng = createPrng(SEED + 2)
  const run = async (requests: string, answers: readonly ((streamId: number) => Buffer)[], cuts: Cuts) => {
    let at = 0
    harness.backend.onPeer = peer => serveHttp2(peer, streamId => answers[at++]!(streamId), cuts)
    const kinds: string[] = []
    harness.onExchange = exchange =>
      exchange.forward({ ...harness.target(({ kind }) => void kinds.push(kind)), protocol: 'h2c' })
    const client = await harness.client()
    client.write(requests)
    await client.ended()
    client.socket.destroy()
    for (const peer of harness.backend.peers.splice(0)) {
      peer.socket.destroy()
      await peer.closed()
    }
    return JSON.stringify({ kinds, client: withoutChunks(client.text) }, null, 1)
  }
  for (let round = 0; round < ROUNDS; round++) {
    const answers = Array.from({ length: 1 + prng.below(4) }, () => randomHttp2Answer(prng))
    const requests = answers.map((_, at) => {
      const payload = letters(prng, 60)
      const close = at === answers.length - 1 ? 'Connection: close\r\n' : ''
      return `POST /${at} HTTP/1.1\r\nHost: a\r\n${close}Content-Length: ${payload.length}\r\n\r\n${payload}`
    })
    const whole = await run(requests.join(''), answers, WHOLE)
    t.equal(whole.match(/"completed"/g)?.length, answers.length, `round ${round}: all answered`)
    for (const cuts of [randomCuts(prng), singly])
      expectSame(t, await run(requests.join(''), answers, cuts), whole, `round ${round}`)
  }
})
