import { once } from 'node:events'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { ErrorCode, type Http2Stream } from '../../src/h2/index.ts'
import { Recorder } from './support/rig.ts'
import { echo, pattern, pour, TestClient, TestServer } from './support/sockets.ts'
import { fieldsOf, pairsOf } from './support/wire.ts'

const MIB = 1024 * 1024

interface Answer {
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly trailers: IncomingHttpHeaders
}

async function readAnswer(stream: ClientHttp2Stream): Promise<Answer> {
  let headers: IncomingHttpHeaders = {}
  let trailers: IncomingHttpHeaders = {}
  const chunks: Buffer[] = []
  stream.on('response', it => {
    headers = it
  })
  stream.on('trailers', it => {
    trailers = it
  })
  stream.on('data', (chunk: Buffer) => void chunks.push(chunk))
  await once(stream, 'close')
  return { headers, body: Buffer.concat(chunks), trailers }
}

/** node:http2's client against our server. */
async function withNodeClient(
  t: { teardown(run: () => Promise<void>): void },
  onRequest: (stream: Http2Stream) => Recorder,
): Promise<{ session: ClientHttp2Session; server: TestServer }> {
  const server = new TestServer(onRequest)
  const port = await server.listen()
  const session = connect(`http://127.0.0.1:${port}`)
  session.on('error', () => {})
  t.teardown(async () => {
    session.destroy()
    await server.close()
  })
  return { session, server }
}

t.test('node client: a GET, and every character a field may have', async t => {
  const { session } = await withNodeClient(t, echo)
  const headers: Record<string, string> = { ':path': '/a?b=c', 'x-plain': 'v' }
  // Long enough that nghttp2 codes it by Huffman, whatever the odd character costs.
  for (let code = 0x21; code <= 0xff; code++) {
    if (code !== 0x7f && code <= 0x7e) headers[`x-${code}`] = `${'aeiost'.repeat(5)}${String.fromCharCode(code)}e`
  }
  const answer = await readAnswer(session.request(headers))
  t.equal(answer.headers[':status'], 200)
  t.equal(answer.headers['echo-path'], '/a?b=c')
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith('x-')) t.equal(answer.headers[`echo-${name}`], value, name)
  }
})

t.test('node client: the tables of both sides stay equal over many requests', async t => {
  const { session } = await withNodeClient(t, echo)
  const wrong: string[] = []
  let fields = 0
  for (let round = 0; round < 300; round++) {
    const headers: Record<string, string> = { ':path': `/${round}` }
    for (let i = 0; i < 1 + (round % 7); i++)
      headers[`x-${(round * 3 + i) % 40}`] = 'v'.repeat((round * 13 + i * 29) % 300)
    const answer = await readAnswer(session.request(headers))
    for (const [name, value] of Object.entries(headers)) {
      if (!name.startsWith('x-')) continue
      fields += 1
      if (answer.headers[`echo-${name}`] !== value) wrong.push(`round ${round}: ${name}`)
    }
  }
  t.same(wrong, [], `${fields} fields came back`)
  t.ok(fields > 1_000)
})

t.test('node client: 5 MiB up and down, byte for byte, with trailers', async t => {
  const { session } = await withNodeClient(t, echo)
  const body = pattern(5 * MIB, 1)
  const stream = session.request({ ':method': 'POST', ':path': '/' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42' }))
  stream.end(body)
  const answer = await readAnswer(stream)
  t.ok(answer.body.equals(body))
  t.equal(answer.trailers['x-sum'], '42')
})

t.test('node client: 150 streams at once', async t => {
  const { session } = await withNodeClient(t, echo)
  const answers = await Promise.all(
    Array.from({ length: 150 }, (_, index) => {
      const stream = session.request({ ':method': 'POST', ':path': `/${index}` })
      stream.end(pattern(index * 700, index))
      return readAnswer(stream)
    }),
  )
  for (const [index, answer] of answers.entries()) {
    if (!answer.body.equals(pattern(index * 700, index))) t.fail(`stream ${index}`)
  }
  t.equal(answers.length, 150)
})

t.test('node client: HEAD, 204 and an interim response', async t => {
  const { session } = await withNodeClient(t, stream => {
    if (stream.request!.path === '/hints') stream.sendInterim(fieldsOf(':status', '103', 'link', '</s.css>'))
    const isNone = stream.request!.path === '/none'
    stream.sendHead(isNone ? fieldsOf(':status', '204') : fieldsOf(':status', '200', 'content-length', '5'), false)
    stream.sendData(Buffer.from('hello'), 0, 5)
    stream.end()
    return new Recorder()
  })
  const head = await readAnswer(session.request({ ':method': 'HEAD', ':path': '/' }))
  t.equal(head.headers['content-length'], '5')
  t.equal(head.body.length, 0)
  const none = await readAnswer(session.request({ ':path': '/none' }))
  t.equal(none.headers[':status'], 204)
  const hints = session.request({ ':path': '/hints' })
  const interim = once(hints, 'headers')
  const answer = await readAnswer(hints)
  t.equal(((await interim) as [IncomingHttpHeaders])[0].link, '</s.css>')
  t.equal(answer.body.toString(), 'hello')
})

t.test('node client: resets both ways', async t => {
  const heard: Promise<Recorder>[] = []
  const { session } = await withNodeClient(t, stream => {
    const recorder = new Recorder()
    if (stream.request!.path === '/cut') stream.reset(ErrorCode.INTERNAL_ERROR)
    else {
      stream.sendHead(fieldsOf(':status', '200'), false)
      heard.push(
        new Promise(resolve => {
          recorder.onReset = reset => {
            recorder.lastReset = reset
            resolve(recorder)
          }
        }),
      )
    }
    return recorder
  })
  const cut = session.request({ ':path': '/cut' })
  const [error] = (await once(cut, 'error')) as [Error]
  t.match(error.message, /INTERNAL_ERROR/)
  const left = session.request({ ':path': '/' })
  await once(left, 'response')
  left.close(constants.NGHTTP2_CANCEL)
  t.match((await heard[0]!).lastReset, { cause: 'peer', code: ErrorCode.CANCEL })
})

t.test('node client: a drain lets streams finish and then closes', async t => {
  const waiting: Http2Stream[] = []
  const { session, server } = await withNodeClient(t, stream => {
    waiting.push(stream)
    server.connections[0]!.shutdown()
    return new Recorder()
  })
  const goaway = once(session, 'goaway')
  const stream = session.request({ ':path': '/' })
  const answer = readAnswer(stream)
  t.equal((await goaway)[0], ErrorCode.NO_ERROR)
  const closed = once(session, 'close')
  const [request] = waiting
  request!.sendHead(fieldsOf(':status', '200'), false)
  request!.sendData(Buffer.from('late'), 0, 4)
  request!.end()
  t.equal((await answer).body.toString(), 'late')
  await closed
  t.match(server.ends, [{ code: ErrorCode.NO_ERROR, detail: 'drained' }])
})

t.test('node client: a slow reader holds us back', async t => {
  const recorder = new Recorder()
  let responding: Http2Stream | null = null
  const { session } = await withNodeClient(t, stream => {
    responding = stream
    stream.sendHead(fieldsOf(':status', '200'), false)
    pour(stream, recorder, pattern(3 * MIB, 9))
    return recorder
  })
  const stream = session.request({ ':path': '/' })
  const body: Buffer[] = []
  await once(stream, 'response')
  await new Promise(resolve => setImmediate(resolve))
  t.ok((responding as Http2Stream | null)!.writableLength <= 64 * 1024, 'only one piece waits')
  for await (const chunk of stream) body.push(chunk as Buffer)
  t.ok(Buffer.concat(body).equals(pattern(3 * MIB, 9)))
})

/** Our client against node:http2's server. */
async function withNodeServer(
  t: { teardown(run: () => Promise<void>): void },
  onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
): Promise<TestClient> {
  const server = createServer()
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    onStream(stream, headers)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = new TestClient((server.address() as AddressInfo).port)
  t.teardown(async () => {
    client.close()
    server.close()
    await once(server, 'close')
  })
  return client
}

function echoOfNode(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  const chunks: Buffer[] = []
  let sum = ''
  stream.on('trailers', trailers => {
    sum = String(trailers['x-sum'])
  })
  stream.on('data', (chunk: Buffer) => void chunks.push(chunk))
  stream.on('end', () => {
    const answer: Record<string, string | number> = { ':status': 200 }
    for (const [name, value] of Object.entries(headers))
      if (name.startsWith('x-')) answer[`echo-${name}`] = String(value)
    stream.respond(answer, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': sum }))
    stream.end(Buffer.concat(chunks))
  })
}

t.test('node server: many fields, over many requests', async t => {
  const client = await withNodeServer(t, echoOfNode)
  const wrong: string[] = []
  for (let round = 0; round < 200; round++) {
    const headers: string[] = []
    for (let i = 0; i < 1 + (round % 9); i++) {
      const odd = String.fromCharCode(0x21 + ((round * 9 + i) % 94))
      headers.push(`x-${(round * 3 + i) % 40}`, `${'v'.repeat((round * 13 + i * 29) % 200)}${odd}`)
    }
    const { heads } = await client.exchange({ method: 'GET', path: `/${round}`, headers })
    const echoed = new Map(pairsOf(heads[0]!.fields))
    for (let i = 0; i < headers.length; i += 2) {
      if (echoed.get(`echo-${headers[i]}`) !== headers[i + 1]) wrong.push(`round ${round}: ${headers[i]}`)
    }
  }
  t.same(wrong, [], 'every field came back')
})

t.test('node server: 5 MiB up and down with trailers, and 100 streams at once', async t => {
  const client = await withNodeServer(t, echoOfNode)
  const body = pattern(5 * MIB, 3)
  const large = await client.exchange({ method: 'POST', path: '/', body, trailers: ['x-sum', '7'] })
  t.ok(large.body.equals(body))
  t.same(large.events.slice(-2), ['trailers [["x-sum","7"]]', 'end'])
  const many = await Promise.all(
    Array.from({ length: 100 }, (_, index) =>
      client.exchange({ method: 'POST', path: '/', body: pattern(index * 900, index) }),
    ),
  )
  for (const [index, recorder] of many.entries()) {
    if (!recorder.body.equals(pattern(index * 900, index))) t.fail(`stream ${index}`)
  }
  t.equal(client.connection.streamCount, 0)
})

t.test('node server: reset, early answer and goaway', async t => {
  const client = await withNodeServer(t, (stream, headers) => {
    if (headers[':path'] === '/cut') stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM)
    else if (headers[':path'] === '/bye') {
      stream.session!.goaway(constants.NGHTTP2_NO_ERROR)
      stream.respond({ ':status': 204 }, { endStream: true })
    } else stream.respond({ ':status': 404 }, { endStream: true })
  })
  const cut = await client.exchange({ method: 'GET', path: '/cut' })
  t.match(cut.lastReset, { cause: 'peer', code: ErrorCode.ENHANCE_YOUR_CALM })
  const bye = await client.exchange({ method: 'GET', path: '/bye' })
  t.same(bye.events, ['head 204', 'end'])
  t.equal((await client.closed).code, ErrorCode.NO_ERROR)
  t.equal(client.connection.canRequest, false)
})

t.test('node server: a paused response holds the server back', async t => {
  const client = await withNodeServer(t, stream => {
    stream.respond({ ':status': 200 })
    stream.end(pattern(2 * MIB, 5))
  })
  const recorder = new Recorder()
  const head = fieldsOf(':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'a')
  const ended = new Promise<void>(resolve => {
    recorder.onEnd = resolve
  })
  const stream = client.connection.request(head, true, recorder)!
  stream.pause()
  // A second exchange on the same connection is not held up by the first.
  const other = await client.exchange({ method: 'GET', path: '/' })
  t.equal(other.body.length, 2 * MIB)
  t.equal(recorder.body.length, 0)
  t.ok(stream.heldBytes <= 256 * 1024, `one window: ${stream.heldBytes}`)
  stream.resume()
  await ended
  t.ok(recorder.body.equals(pattern(2 * MIB, 5)))
})
