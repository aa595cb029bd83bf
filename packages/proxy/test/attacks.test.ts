import { createPrng, type Prng } from '@waiter/base'
import t from 'tap'
import type { Exchange, Outcome } from '../src/index.ts'
import { createHarness, get, type Harness, ok } from './support/harness.ts'
import type { RawPeer } from './support/raw-peer.ts'

// What somebody with bad intentions would try, as a client and as a backend. Afterwards nothing may be left over.

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const pick = <T>(prng: Prng, values: readonly T[]): T => values[prng.below(values.length)] as T

/** Turns of the event loop until the condition holds: for what announces itself nowhere. */
async function until(condition: () => boolean, what: string): Promise<void> {
  const TURNS_MAX = 200_000
  for (let i = 0; i < TURNS_MAX; i++) {
    if (condition()) return
    await turn()
  }
  throw new Error(`waited in vain for ${what}`)
}

t.test('a client that pipelines and never reads gets no more answers than fit', async t => {
  const harness = await createHarness(t)
  let answered = 0
  harness.onExchange = exchange => {
    answered += 1
    exchange.respond({ status: 200, headers: [], body: 'a'.repeat(4000) })
  }
  const client = await harness.client()
  const COUNT = 20_000
  client.socket.removeAllListeners('data')
  client.socket.pause()
  client.write(Buffer.alloc(COUNT * get('/').length, get('/')))
  let last = -1
  for (let still = 0; still < 200; last = answered) {
    await turn()
    still = answered === last ? still + 1 : 0
  }
  t.ok(answered < COUNT / 2, `${answered} of ${COUNT} were answered`)
  t.ok(harness.proxy.stats().bufferedBytes < 1024 * 1024, `${harness.proxy.stats().bufferedBytes} bytes are held`)
  let received = 0
  client.socket.on('data', piece => {
    received += piece.length
  })
  client.socket.resume()
  await until(() => answered === COUNT && received > COUNT * 4000, 'all answers once they are read')
  t.equal(answered, COUNT)
})

t.test('100,000 fields cost no more than the head may be long', async t => {
  const harness = await createHarness(t)
  const client = await harness.client()
  client.write(`GET / HTTP/1.1\r\nHost: a\r\n${'a:\r\n'.repeat(100_000)}\r\n`)
  await client.ended()
  t.match(client.text, /^HTTP\/1\.1 431 /)
  t.equal(harness.exchanges.length, 0)
})

t.test(
  'hundreds of connections that say nothing, half a line or half a head are gone when their time is up',
  async t => {
    const harness = await createHarness(t)
    const beginnings = ['', 'G', 'GET / HTTP/1.1\r\n', 'GET / HTTP/1.1\r\nHost: a\r\nX: ', '\r\n', 'PRI * HTTP/2']
    const clients = await Promise.all(
      Array.from({ length: 300 }, async (_, index) => {
        const client = await harness.client()
        client.write(beginnings[index % beginnings.length] as string)
        return client
      }),
    )
    await until(() => harness.proxy.stats().clientConnections === 300, 'all to be accepted')
    const good = await harness.client()
    good.write(get('/good'))
    const exchange = await harness.nextExchange()
    exchange.respond({ status: 204, headers: [] })
    await good.until('204')
    for (let second = 0; second < 70; second++) {
      harness.clock.advance(1_000)
      await turn()
    }
    await Promise.all(clients.map(client => client.ended()))
    for (const client of clients) client.socket.destroy()
    good.socket.destroy()
    await until(() => harness.proxy.stats().clientConnections === 0, 'no connection')
    t.equal(harness.proxy.stats().clientConnections, 0, 'all are gone')
  },
)

t.test('a body dripped byte by byte in any phase is refused when its time is up', async t => {
  const harness = await createHarness(t)
  const drips: readonly (readonly [phase: string, head: string, drip: string])[] = [
    ['payload of known length', 'Content-Length: 1000000', 'x'],
    ['an endless chunk extension', 'Transfer-Encoding: chunked', '5;x'],
    ['chunks of one byte', 'Transfer-Encoding: chunked', '1\r\nx\r\n'],
    ['trailers', 'Transfer-Encoding: chunked', '0\r\nX: y'],
  ]
  for (const [phase, field, drip] of drips) {
    const { client, outcome, upstream } = await harness.forwarded(`POST / HTTP/1.1\r\nHost: a\r\n${field}\r\n\r\n`)
    let result: Outcome | undefined
    void outcome.then(found => {
      result = found
    })
    let sent = 0
    for (let second = 0; second < 130 && result === undefined; second++) {
      // One step a second: far below what is asked for.
      client.write(drip[Math.min(sent++, drip.length - 1)] as string)
      harness.clock.advance(1_000)
      for (let i = 0; i < 4; i++) await turn()
    }
    t.match(result, { kind: /client-stalled|client-malformed/ }, phase)
    await upstream.ended()
    client.socket.destroy()
  }
  t.match(harness.proxy.stats(), { activeExchanges: 0, upstreamConnections: 0 })
})

type Cut = 'fin' | 'reset' | 'destroy'

function leave(peer: RawPeer, cut: Cut): void {
  peer.socket.on('error', () => undefined)
  if (cut === 'fin') peer.socket.end()
  else if (cut === 'reset' && !peer.socket.writableEnded) peer.socket.resetAndDestroy()
  else peer.socket.destroy()
}

/** Writes a part in pieces, then leaves: in the middle of anything. */
async function writeAndLeave(peer: RawPeer, bytes: Buffer, prng: Prng, cut: Cut | null): Promise<void> {
  peer.socket.on('error', () => undefined)
  const end = cut === null ? bytes.length : prng.below(bytes.length + 1)
  for (let from = 0; from < end; ) {
    const to = Math.min(end, from + 1 + prng.below(60))
    if (!peer.socket.destroyed) peer.write(bytes.subarray(from, to))
    from = to
    if (prng.below(3) > 0) await turn()
  }
  if (cut !== null) leave(peer, cut)
}

const REQUESTS = [
  get('/'),
  `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n${'r'.repeat(200)}`,
  `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${'5\r\nabcde\r\n'.repeat(20)}0\r\nX: y\r\n\r\n`,
  `PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello`,
  'GET / HTTP/1.0\r\n\r\n',
  `GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n${'t'.repeat(50)}`,
  get('/1') + get('/2') + get('/3'),
]
const RESPONSES = [
  ok('hello'),
  `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'5\r\nabcde\r\n'.repeat(20)}0\r\nX: y\r\n\r\n`,
  `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n${ok('x'.repeat(100))}`,
  `HTTP/1.1 200 OK\r\n\r\n${'until close '.repeat(10)}`,
  `HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n${'d'.repeat(50)}`,
  'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
  `${ok('one')}${ok('two')}`,
  'no HTTP at all\r\n\r\n',
]

/** Serves every exchange until its end, as an owner does: forwards once more what was not sent, else answers. */
function serveAll(harness: Harness, outcomes: Map<Exchange, Outcome[]>): void {
  harness.onExchange = exchange => {
    const told: Outcome[] = []
    outcomes.set(exchange, told)
    const forward = (attempts: number): void => {
      let calls = 0
      const target = harness.target(outcome => {
        calls += 1
        if (calls > 1) throw new Error('more than one outcome for one forward')
        told.push(outcome)
        const isOver = !['not-sent', 'failed-before-response', 'response-timeout'].includes(outcome.kind)
        if (isOver) return
        if (outcome.kind === 'not-sent' && attempts > 0) forward(attempts - 1)
        else exchange.respond({ status: 502, headers: [] })
      })
      exchange.forward(target)
    }
    forward(2)
  }
}

t.test('whoever leaves at whatever byte, in whatever way: every exchange ends once, and nothing is left', async t => {
  const harness = await createHarness(t)
  const outcomes = new Map<Exchange, Outcome[]>()
  serveAll(harness, outcomes)
  const prng = createPrng(20_261_126)
  const cuts: readonly (Cut | null)[] = [null, null, 'fin', 'reset', 'destroy']
  harness.backend.onPeer = peer => {
    const [delayTurns, cut, response] = [prng.below(20), pick(prng, cuts), Buffer.from(pick(prng, RESPONSES))]
    const isEarly = prng.below(4) === 0
    void (async () => {
      // Some answer before they have read a byte, some never read at all.
      if (!isEarly) await peer.until('\r\n\r\n').catch(() => undefined)
      for (let i = 0; i < delayTurns; i++) await turn()
      await writeAndLeave(peer, response, prng, cut)
      if (cut === null && prng.below(2) === 0) leave(peer, 'fin')
    })()
  }
  const ROUNDS = 400
  const LANES = 8
  let round = 0
  const lane = async (): Promise<void> => {
    while (round < ROUNDS) {
      round += 1
      const client = await harness.client()
      const cut = pick(prng, cuts)
      await writeAndLeave(client, Buffer.from(pick(prng, REQUESTS)), prng, cut)
      for (let i = prng.below(40); i > 0; i--) await turn()
      // Sooner or later everybody goes.
      leave(client, pick(prng, ['fin', 'reset', 'destroy'] as const))
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  const isAtRest = (): boolean => {
    const { activeExchanges, clientConnections } = harness.proxy.stats()
    return activeExchanges === 0 && clientConnections === 0
  }
  for (let second = 0; second < 200 && !isAtRest(); second++) {
    harness.clock.advance(1_000)
    for (let i = 0; i < 20; i++) await turn()
  }
  harness.clock.advance(10_000)
  const kinds = new Set([...outcomes.values()].flat().map(({ kind }) => kind))
  t.match(harness.proxy.stats(), { activeExchanges: 0, clientConnections: 0, bufferedBytes: 0 })
  await until(() => harness.proxy.stats().upstreamConnections === 0, 'no backend connection')
  t.ok(outcomes.size > ROUNDS / 2, `${outcomes.size} exchanges`)
  t.same(
    [...outcomes.values()].filter(told => told.length === 0),
    [],
    'each has an outcome',
  )
  t.ok(kinds.size >= 4, [...kinds].join())
  t.same(harness.logged, [], 'and nobody threw')
})

t.test('a backend cannot slip a response to somebody else, whatever it sends and when', async t => {
  const harness = await createHarness(t)
  const outcomes = new Map<Exchange, Outcome[]>()
  serveAll(harness, outcomes)
  const prng = createPrng(77)
  let evil = 0
  harness.backend.onPeer = peer => {
    peer.socket.on('error', () => undefined)
    let answered = 0
    peer.socket.on('data', () => {
      const heads = peer.text.match(/GET \/(\d+) /g) ?? []
      while (answered < heads.length) {
        const path = (heads[answered++] as string).slice(4, -1)
        const proper = ok(path)
        const mode = prng.below(6)
        if (mode > 0) evil += 1
        if (mode === 0) peer.write(proper)
        else if (mode === 1) peer.write(proper + ok('evil'))
        else if (mode === 2) {
          peer.write(proper)
          setImmediate(() => peer.write(ok('evil')))
        } else if (mode === 3) peer.write(`${proper}evil`)
        else if (mode === 4) peer.write(`HTTP/1.1 204 No Content\r\nContent-Length: 40\r\n\r\n${ok('evil')}`)
        else peer.write(`HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${ok('evil')}`)
      }
    })
  }
  const client = await harness.client()
  for (let n = 0; n < 150; n++) {
    client.take()
    client.write(get(`/${n}`))
    await client.until('\r\n\r\n')
    if (/^HTTP\/1\.1 200/.test(client.text)) await client.until(`/${n}`)
    if (client.text.includes('evil') && !client.text.includes(`/${n}`)) t.fail(`request ${n} got ${client.text}`)
    if ((client.text.match(/HTTP\/1\.1 /g)?.length ?? 0) !== 1) t.fail(`request ${n} got two answers: ${client.text}`)
    // What comes too late must find a connection at rest, not the next request.
    await turn()
    await turn()
  }
  t.ok(evil > 80, `${evil} attempts`)
})
