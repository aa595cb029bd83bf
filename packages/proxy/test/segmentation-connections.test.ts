import { createPrng, type Prng } from '@waiter/base'
import t from 'tap'
import { createHarness, get, type Harness } from './support/harness.ts'
import type { RawPeer } from './support/raw-peer.ts'

/** Writes piece by piece, each in a turn of its own, so that they mostly arrive one by one. */
async function writePieces(peer: RawPeer, bytes: Buffer, cuts: readonly number[]): Promise<void> {
  let from = 0
  for (const cut of [...cuts, bytes.length].sort((one, other) => one - other)) {
    if (cut > from) peer.write(bytes.subarray(from, cut))
    from = Math.max(from, cut)
    await new Promise(resolve => setImmediate(resolve))
  }
}

const cutsOf = (prng: Prng, bytes: Buffer): number[] =>
  prng.below(4) === 0
    ? Array.from({ length: Math.min(bytes.length, 200) }, (_, at) => at)
    : Array.from({ length: prng.below(9) }, () => prng.below(bytes.length + 1))

const pick = <T>(prng: Prng, values: readonly T[]): T => values[prng.below(values.length)] as T

/** A response in any framing, with or without faults. */
function randomResponse(prng: Prng): string {
  const interim = prng.below(3) === 0 ? 'HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n'.repeat(1 + prng.below(3)) : ''
  const fields = ['X-A: 1', 'Set-Cookie: a=b', 'X-Empty:', 'X-Latin: \xe9', 'Connection: x-hop', 'X-Hop: 1'].filter(
    () => prng.below(2) === 0,
  )
  const payload = 'p'.repeat(prng.below(300))
  const framed = pick(prng, [
    { field: `Content-Length: ${payload.length}`, body: payload },
    { field: 'Transfer-Encoding: chunked', body: chunksOf(prng, payload) },
    { field: 'Transfer-Encoding: chunked', body: chunksOf(prng, payload) },
  ])
  const head = `HTTP/1.1 ${pick(prng, ['200 OK', '404 Not Found', '500 ', '299'])}\r\n`
  return `${interim}${head}${[...fields, framed.field].join('\r\n')}\r\n\r\n${framed.body}`
}

function chunksOf(prng: Prng, payload: string): string {
  let text = ''
  for (let rest = payload; rest !== ''; ) {
    const size = 1 + prng.below(rest.length)
    text += `${size.toString(16)}${pick(prng, ['', ';a=b'])}\r\n${rest.slice(0, size)}\r\n`
    rest = rest.slice(size)
  }
  return `${text}0\r\n${pick(prng, ['', 'X-Sum: 1\r\n', 'A: b\r\nContent-Length: 3\r\n'])}\r\n`
}

function damage(prng: Prng, text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1')
  bytes[prng.below(bytes.length)] = pick(prng, [0, 9, 10, 13, 32, 48, 58, 59, 127, 200, 88])
  return bytes
}

/** What the client and the owner see of a response that arrives in these pieces. */
async function relay(harness: Harness, response: Buffer, cuts: readonly number[]): Promise<string> {
  const { client, outcome, upstream, exchange } = await harness.forwarded(get('/'))
  upstream.socket.on('error', () => undefined)
  await writePieces(upstream, response, cuts)
  // A response that never ends does so now: what is missing must show.
  upstream.socket.end()
  const result = await outcome
  if (!exchange.isFinished) exchange.respond({ status: 502, headers: [] })
  client.socket.end()
  await client.ended()
  const text = client.text.replace(/date: .*\r\n/, '')
  client.socket.destroy()
  const detail = 'reason' in result ? `${result.reason}: ${'detail' in result ? result.detail : ''}` : ''
  // A response that ended by a reset has lost what the client had not read yet.
  return `${result.kind} ${detail}\n${client.error === null ? text : 'reset'}`
}

t.test('any segmentation of a response, sound or not, comes to the same', async t => {
  const harness = await createHarness(t)
  const prng = createPrng(20_261_125)
  const kinds = new Map<string, number>()
  for (let round = 0; round < 120; round++) {
    const text = randomResponse(prng)
    const response = prng.below(2) === 0 ? Buffer.from(text, 'latin1') : damage(prng, text)
    const whole = await relay(harness, response, [])
    const split = await relay(harness, response, cutsOf(prng, response))
    if (split !== whole) t.equal(split, whole, `round ${round}: ${JSON.stringify(response.toString('latin1'))}`)
    const kind = whole.split(' ', 1)[0] as string
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  for (const kind of ['completed', 'failed-before-response', 'failed-mid-response']) {
    t.ok((kinds.get(kind) ?? 0) > 5, `${kind}: ${kinds.get(kind)}`)
  }
})

t.test('surplus behind a response reaches nobody, however it is cut', async t => {
  const harness = await createHarness(t)
  const prng = createPrng(3)
  for (let round = 0; round < 25; round++) {
    const { client, outcome, upstream } = await harness.forwarded(get('/'))
    const bytes = Buffer.from(
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil',
    )
    upstream.socket.on('error', () => undefined)
    await writePieces(upstream, bytes, cutsOf(prng, bytes))
    t.match(await outcome, { kind: 'completed', status: 200 })
    await upstream.ended()
    client.write(get('/next'))
    const second = harness.forward(await harness.nextExchange())
    const fresh = await harness.backend.next()
    await fresh.until('/next')
    fresh.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngood')
    t.match(await second, { kind: 'completed' })
    await client.until('good')
    if (client.text.includes('evil')) t.fail('the next request got the surplus')
    client.socket.destroy()
  }
})

t.test('any segmentation of an upgrade and of what follows it arrives as it was sent', async t => {
  const harness = await createHarness(t)
  const prng = createPrng(11)
  const noise = (): string =>
    Array.from({ length: prng.below(200) }, () => String.fromCharCode(prng.below(256))).join('')
  for (let round = 0; round < 40; round++) {
    const [up, down] = [`${noise()}GET / HTTP/1.1\r\n\r\n`, `${noise()}HTTP/1.1 200 OK\r\n\r\n`]
    const client = await harness.client()
    const request = Buffer.from(
      `GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n${up}`,
      'latin1',
    )
    const writing = writePieces(client, request, cutsOf(prng, request))
    const outcome = harness.forward(await harness.nextExchange())
    const upstream = await harness.backend.next()
    await upstream.until('\r\n\r\n')
    const answer = Buffer.from(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n${down}`,
      'latin1',
    )
    await Promise.all([writing, writePieces(upstream, answer, cutsOf(prng, answer))])
    await client.until(text => text.length >= answer.length)
    await upstream.until(text => text.endsWith(up))
    if (!client.text.endsWith(`\r\n\r\n${down}`) || client.text.length > answer.length) t.fail(`down, round ${round}`)
    if (upstream.text.split('\r\n\r\n').slice(1).join('\r\n\r\n') !== up) t.fail(`up, round ${round}`)
    client.socket.end()
    upstream.socket.end()
    t.match(await outcome, { kind: 'completed', status: 101 })
    client.socket.destroy()
  }
  t.equal(harness.exchanges.length, 40, 'nothing in a tunnel is taken for a request')
})

t.test('a conversation at its limits is judged alike in one piece and byte by byte', async t => {
  const rows: readonly (readonly [what: string, bytes: string, status: number])[] = [
    ['a head one byte too long', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'y'.repeat(700 - 32 + 1)}\r\n\r\n`, 431],
    ['a head as long as it may be', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'y'.repeat(700 - 32)}\r\n\r\n`, 204],
    ['a target one byte too long', `GET /${'t'.repeat(60)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
    ['a target as long as it may be', `GET /${'t'.repeat(59)} HTTP/1.1\r\nHost: a\r\n\r\n`, 204],
    ['a field too many', `GET / HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(12)}\r\n`, 431],
    ['as many fields as there may be', `GET / HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(11)}\r\n`, 204],
  ]
  const harness = await createHarness(t, { headBytesMax: 700, headFieldsMax: 12, targetBytesMax: 60 })
  harness.onExchange = exchange => exchange.respond({ status: 204, headers: [] })
  for (const [what, bytes, status] of rows) {
    for (const cuts of [[], Array.from(bytes, (_, at) => at)]) {
      const client = await harness.client()
      await writePieces(client, Buffer.from(`${get('/before')}${bytes}`), cuts)
      await client.until(text => text.split('HTTP/1.1 ').length === 3)
      t.equal(client.text.split('HTTP/1.1 ')[2]?.slice(0, 3), String(status), what)
      client.socket.destroy()
    }
  }
})
