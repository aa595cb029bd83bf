import type { IncomingMessage, ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { type Answer, createPairing, gather, PAIRINGS, type Pairing, pattern, standsStill } from './support.ts'

const MIB = 1024 * 1024

/** Sends back what came in, piece by piece, without a length. */
function echo(request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, {
    'x-method': request.method,
    'x-url': request.url,
    'x-length': request.headers['content-length'] ?? 'none',
  })
  request.pipe(response)
}

function each(name: string, run: (t: Test, pairing: Pairing) => Promise<void>): void {
  for (const [client, backend] of PAIRINGS) {
    t.test(`${client} to ${backend}: ${name}`, async t => run(t, await createPairing(t, client, backend)))
  }
}

each('a request without a body', async (t, pairing) => {
  let seen: IncomingMessage['headers'] = {}
  let seenUrl: string | undefined
  pairing.handler = (request, response) => {
    seen = request.headers
    seenUrl = request.url
    response.writeHead(201, { 'content-length': '5', 'x-answer': 'yes', 'set-cookie': ['a=1', 'x-waiter-auth=forged'] })
    response.end('hello')
  }
  const answer = await pairing.ask({
    path: '/some/path?with=query',
    headers: {
      'x-ask': 'apples',
      cookie: 'a=b; x-waiter-auth=secret; c=d',
      'x-waiter-token': 'x',
      x_waiter_auth_principal: 'forged',
      x_mine: 'kept',
      authorization: 'Basic x',
    },
  })
  t.equal(answer.status, 201)
  t.equal(String(answer.body), 'hello')
  t.equal(answer.headers['content-length'], '5')
  t.equal(answer.headers['x-answer'], 'yes')
  t.equal(answer.headers['x-extra-response'], '1')
  t.same(answer.headers['set-cookie'], ['a=1'], 'nobody forges our cookies')
  t.notOk(answer.headers.connection === 'close')
  t.equal(seenUrl, '/some/path?with=query')
  t.equal(seen.host ?? seen[':authority'], 'service.example')
  t.equal(seen['x-ask'], 'apples')
  t.equal(seen.cookie, 'a=b; c=d')
  t.equal(seen['x-extra-request'], '1')
  t.equal(seen.x_mine, 'kept')
  t.notOk('x_waiter_auth_principal' in seen, 'nor our own fields by another spelling')
  t.notOk('x-waiter-token' in seen || 'authorization' in seen || 'te' in seen || 'transfer-encoding' in seen)
  const outcome = await pairing.outcome()
  t.match(outcome, { kind: 'completed', status: 201 })
  t.equal(pairing.proxy.stats().activeExchanges, 0)
})

each('a field of the request gets another value, if it came over HTTP/2', async (t, pairing) => {
  let seen: IncomingMessage['headers'] = {}
  pairing.handler = (request, response) => {
    seen = request.headers
    response.end()
  }
  pairing.overrides = { changedRequestField: { name: 'grpc-timeout', value: '19m' } }
  await pairing.ask({ headers: { 'grpc-timeout': '1S', 'x-ask': 'apples' } })
  t.equal(seen['grpc-timeout'], pairing.client === 'h2' ? '19m' : '1S')
  t.equal(seen['x-ask'], 'apples')
  await pairing.ask({ headers: { 'x-ask': 'pears' } })
  t.notOk('grpc-timeout' in seen, 'nothing is added')
})

each('a body with a length goes both ways', async (t, pairing) => {
  pairing.handler = echo
  const body = pattern(200_000)
  const answer = await pairing.ask({ method: 'POST', body })
  t.equal(answer.headers['x-length'], '200000', 'the length is told to the backend')
  t.ok(answer.body.equals(body))
  t.match(await pairing.outcome(), { kind: 'completed', status: 200 })
})

each('a body of no octets, with its length', async (t, pairing) => {
  pairing.handler = echo
  for (const method of ['POST', 'PUT']) {
    const answer = await pairing.ask({ method, headers: { 'content-length': '0' } })
    t.equal(answer.headers['x-length'], '0')
    t.equal(answer.body.length, 0)
  }
})

each('a streamed body goes both ways, unchanged and in order', async (t, pairing) => {
  pairing.handler = echo
  const body = pattern(3 * MIB)
  const answer = await pairing.ask({ method: 'PUT', body, isStreamed: true })
  t.equal(answer.headers['x-length'], 'none')
  t.equal(answer.headers['content-length'], undefined)
  t.ok(answer.body.equals(body))
  t.match(await pairing.outcome(), { kind: 'completed', status: 200 })
  const again = await pairing.ask({ method: 'POST', body: Buffer.from('small'), isStreamed: true })
  t.equal(String(again.body), 'small', 'the connections serve again')
})

t.test('h1 to h2c: trailers behind a body with a length, for a client that asks for them', async t => {
  const pairing = await createPairing(t, 'h1', 'h2c')
  pairing.handler = (_request, response) => {
    response.writeHead(200, { 'content-length': '5' })
    response.addTrailers({ 'x-checked': 'right' })
    response.end('hello')
  }
  const asking = await pairing.ask({ headers: { te: 'deflate;q=0.5, Trailers', connection: 'te' } })
  t.match(asking, { headers: { 'transfer-encoding': 'chunked' }, trailers: { 'x-checked': 'right' }, error: null })
  t.equal(asking.headers['content-length'], undefined, 'never both')
  t.equal(String(asking.body), 'hello')
  const others = [{}, { te: 'trailersome' }, { te: 'gzip' }]
  for (const headers of others) {
    const answer = await pairing.ask({ headers: headers as Record<string, string> })
    t.match(answer, { headers: { 'content-length': '5' }, trailers: {}, error: null })
    t.equal(answer.headers['transfer-encoding'], undefined)
    t.equal(String(answer.body), 'hello')
  }
  const head = await pairing.ask({ method: 'HEAD', headers: { te: 'trailers' } })
  t.match(head, { headers: { 'content-length': '5' }, error: null }, 'a head alone keeps its length')
  pairing.handler = (_request, response) => {
    response.writeHead(200, { 'content-length': '5' })
    response.end('hell')
  }
  t.ok((await pairing.ask({ headers: { te: 'trailers' } })).error, 'what is too short is still broken off')
})

each('trailers pass where the protocols carry them', async (t, pairing) => {
  const seen: (string | undefined)[] = []
  pairing.handler = (request, response) => {
    request.resume()
    request.on('end', () => {
      seen.push(request.trailers['x-sum'], request.trailers['x-waiter-secret'])
      response.writeHead(200, { trailer: 'x-checked' })
      response.addTrailers({ 'x-checked': 'right' })
      response.end('body')
    })
  }
  const told: (string | undefined)[] = []
  pairing.overrides = { onResponseTrailers: get => void told.push(get('x-checked')) }
  const trailers = { 'x-sum': '42', 'x-waiter-secret': 'no' }
  const answer = await pairing.ask({ method: 'POST', body: Buffer.from('1'), isStreamed: true, trailers })
  t.equal(String(answer.body), 'body')
  t.equal(answer.trailers['x-checked'], 'right')
  t.same(seen, [pairing.backend === 'h2c' ? '42' : undefined, undefined], 'to HTTP/1.1 none, and never what is dropped')
  if (pairing.client === 'h2' || pairing.backend === 'h2c') t.same(told, ['right'])
})

each('HEAD, 204 and 304 have no body', async (t, pairing) => {
  pairing.handler = (request, response) => {
    response.statusCode = request.url === '/204' ? 204 : request.url === '/304' ? 304 : 200
    if (request.method === 'HEAD') response.setHeader('content-length', '1000')
    if (request.url === '/304') response.setHeader('etag', '"x"')
    response.end()
  }
  const head = await pairing.ask({ method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(head.headers['content-length'], '1000')
  t.equal((await pairing.ask({ path: '/204' })).status, 204)
  const notModified = await pairing.ask({ path: '/304' })
  t.equal(notModified.status, 304)
  t.equal(notModified.headers.etag, '"x"')
  t.equal((await pairing.ask({ path: '/empty' })).body.length, 0)
  await pairing.outcome(3)
  t.same(new Set(pairing.outcomes.map(({ kind }) => kind)), new Set(['completed']))
})

each('interim responses pass', async (t, pairing) => {
  pairing.handler = (_request, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload' })
    response.end('done')
  }
  const answer = await pairing.ask()
  t.same(answer.interims, [103])
  t.equal(String(answer.body), 'done')
})

each('100-continue: the backend decides', async (t, pairing) => {
  pairing.handler = (request, response) => {
    request.on('data', () => undefined)
    request.on('end', () => response.end('taken'))
  }
  const request = pairing.open({ method: 'POST', headers: { expect: '100-continue', 'content-length': '4' } })
  const answer = gather(request)
  if ('flushHeaders' in request) request.flushHeaders()
  await new Promise<void>(resolve => request.once('continue', () => resolve()))
  request.end('body')
  t.equal(String((await answer).body), 'taken')
})

each('an answer that is complete before the request is', async (t, pairing) => {
  pairing.handler = (_request, response) => response.end('enough')
  const request = pairing.open({
    method: 'POST',
    headers: pairing.client === 'h1' ? { 'transfer-encoding': 'chunked' } : {},
  })
  const answer = gather(request)
  request.write('a beginning')
  const { status, body } = await answer
  t.equal(status, 200)
  t.equal(String(body), 'enough')
  t.match(await pairing.outcome(), { kind: 'completed', status: 200 })
  request.destroy()
})

each('the client leaves while its body is under way', async (t, pairing) => {
  const { promise: isCut, resolve } = Promise.withResolvers<void>()
  const { promise: hasBegun, resolve: begin } = Promise.withResolvers<void>()
  pairing.handler = request => {
    request.once('data', () => begin())
    request.on('aborted', () => resolve())
    request.on('error', () => resolve())
  }
  const request = pairing.open({
    method: 'POST',
    headers: pairing.client === 'h1' ? { 'transfer-encoding': 'chunked' } : {},
  })
  request.write('a beginning')
  await hasBegun
  request.destroy(new Error('gone'))
  t.match(await pairing.outcome(), { kind: 'client-gone', phase: 'request-body' })
  await isCut
  t.equal(pairing.proxy.stats().activeExchanges, 0)
})

each('the client leaves while it waits, and in the middle of the response', async (t, pairing) => {
  const cuts: string[] = []
  const hasArrived = Promise.withResolvers<void>()
  const { promise: wereBothCut, resolve } = Promise.withResolvers<void>()
  pairing.handler = (request, response) => {
    response.on('close', () => {
      cuts.push(request.url ?? '')
      if (cuts.length === 2) resolve()
    })
    if (request.url !== '/stream') {
      hasArrived.resolve()
      return
    }
    // An HTTP/1.1 client that closes is known to be gone when it answers bytes with RST.
    const timer = setInterval(() => response.write('more'), 10)
    response.on('close', () => clearInterval(timer))
  }
  const first = pairing.open({ path: '/wait' })
  first.end()
  await hasArrived.promise
  first.destroy(new Error('gone'))
  t.match(await pairing.outcome(0), { kind: 'client-gone', phase: 'waiting' })
  const second = pairing.open({ path: '/stream' })
  second.end()
  await new Promise<void>(resolve => second.once('response', () => resolve()))
  second.destroy(new Error('gone'))
  t.match(await pairing.outcome(1), { kind: 'client-gone', phase: 'response' })
  await wereBothCut
})

each('the backend breaks off before its response', async (t, pairing) => {
  pairing.handler = (_request, response) => void response.destroy()
  const answer = await pairing.ask()
  t.equal(answer.status, 502)
  t.equal(answer.headers['x-outcome'], 'failed-before-response')
  t.match(await pairing.outcome(), { kind: 'failed-before-response', retryable: true })
})

each('the backend dies in the middle of its response', async (t, pairing) => {
  pairing.handler = (_request, response) => {
    response.writeHead(200)
    response.write('a beginning', () => {
      for (const socket of pairing.backendSockets) socket.destroy()
    })
  }
  const answer: Answer = await pairing.ask()
  t.equal(answer.status, 200)
  t.ok(answer.error, 'the client can see that it is not whole')
  t.match(await pairing.outcome(), { kind: 'failed-mid-response', status: 200 })
  pairing.handler = (_request, response) => response.end('well again')
  t.equal(String((await pairing.ask()).body), 'well again')
})

each('nobody listens', async (t, pairing) => {
  pairing.overrides = { port: 1 }
  const answer = await pairing.ask({ method: 'POST', body: Buffer.from('body') })
  t.equal(answer.headers['x-outcome'], 'not-sent')
  t.match(await pairing.outcome(), { kind: 'not-sent', reason: 'refused', code: 'ECONNREFUSED' })
})

each('after not-sent the request, body included, goes elsewhere', async (t, pairing) => {
  pairing.handler = echo
  pairing.onExchange = exchange => {
    pairing.forward(exchange, {
      port: 1,
      onOutcome: outcome => {
        pairing.outcomes.push(outcome)
        pairing.forward(exchange)
      },
    })
  }
  const body = pattern(100_000)
  const answer = await pairing.ask({ method: 'POST', body })
  t.ok(answer.body.equals(body))
  t.match(pairing.outcomes, [{ kind: 'not-sent' }, { kind: 'completed' }])
})

each('a client that does not read holds the backend up, then gets everything', async (t, pairing) => {
  const body = pattern(24 * MIB)
  let written = 0
  let stalls = 0
  pairing.handler = (_request, response) => {
    response.writeHead(200)
    const pump = (): void => {
      while (written < body.length) {
        const end = Math.min(body.length, written + 64 * 1024)
        const isTaken = response.write(body.subarray(written, end))
        written = end
        if (!isTaken) {
          stalls += 1
          response.once('drain', pump)
          return
        }
      }
      response.end()
    }
    pump()
  }
  const request = pairing.open()
  request.end()
  const response = await new Promise<NodeJS.ReadableStream>(resolve =>
    request.once('response', message => resolve('close' in request ? (request as never) : message)),
  )
  response.pause()
  await standsStill(() => written)
  t.ok(stalls > 0)
  t.ok(written < body.length, 'the backend had to wait')
  t.ok(pairing.proxy.stats().bufferedBytes < MIB, 'what is held here is bounded')
  const pieces: Buffer[] = []
  response.on('data', (piece: Buffer) => pieces.push(piece))
  response.resume()
  await new Promise<void>(resolve => response.once('end', () => resolve()))
  t.ok(Buffer.concat(pieces).equals(body))
})

each('a backend that does not read holds the client up, then gets everything', async (t, pairing) => {
  const body = pattern(24 * MIB)
  const { promise: backendRequest, resolve } = Promise.withResolvers<IncomingMessage>()
  pairing.handler = (request, response) => {
    request.pause()
    resolve(request)
    request.on('end', () => response.end('taken'))
  }
  const request = pairing.open({ method: 'POST', headers: { 'content-length': String(body.length) } })
  const answer = gather(request)
  let sent = 0
  const pump = (): void => {
    while (sent < body.length) {
      const start = sent
      sent += 64 * 1024
      if (request.write(body.subarray(start, sent))) continue
      request.once('drain', pump)
      return
    }
    request.end()
  }
  pump()
  const received = await backendRequest
  await standsStill(() => sent)
  t.ok(sent < body.length, 'the client had to wait')
  t.ok(pairing.proxy.stats().bufferedBytes < 2 * MIB, 'what is held here is bounded')
  const pieces: Buffer[] = []
  received.on('data', (piece: Buffer) => pieces.push(piece))
  received.resume()
  t.equal(String((await answer).body), 'taken')
  t.ok(Buffer.concat(pieces).equals(body))
})

each('answers of our own: short, long, streamed, read first', async (t, pairing) => {
  const long = pattern(5 * MIB)
  pairing.onExchange = async exchange => {
    const { path } = exchange.head
    if (path === '/long') exchange.respond({ status: 200, headers: [['x-own', '1']], body: long })
    else if (path === '/stream') {
      const writer = exchange.respondStream({ status: 200, headers: [] })
      writer.write('one ')
      writer.write('two')
      writer.end()
    } else if (path === '/read') {
      const body = await exchange.readBody(1000).catch((error: { code: string }) => error.code)
      exchange.respond({ status: 200, headers: [], body: Buffer.from(body as never) })
    } else exchange.respond({ status: 404, headers: [['content-type', 'text/plain']], body: 'no' })
  }
  const short = await pairing.ask()
  t.same([short.status, String(short.body), short.headers['content-type']], [404, 'no', 'text/plain'])
  t.ok(short.headers.date)
  t.ok((await pairing.ask({ path: '/long' })).body.equals(long))
  t.equal(String((await pairing.ask({ path: '/stream' })).body), 'one two')
  t.equal(String((await pairing.ask({ path: '/read', method: 'POST', body: Buffer.from('read me') })).body), 'read me')
  const tooLarge = await pairing.ask({ path: '/read', method: 'POST', body: pattern(2000) })
  t.equal(String(tooLarge.body), 'WTR_BODY_TOO_LARGE')
  t.equal(pairing.proxy.stats().activeExchanges, 0)
})
