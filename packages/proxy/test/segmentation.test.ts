import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { createPrng, type Prng, silentLogger } from '@waiter/base'
import fc from 'fast-check'
import t from 'tap'
import type { BodySink } from '../src/body-sink.ts'
import { ClientConnection } from '../src/client-connection.ts'
import type { ConnectionOwner } from '../src/connection-owner.ts'
import { EngineContext } from '../src/engine-context.ts'
import type { ExchangeSide } from '../src/exchange-side.ts'
import { BodyDecoder, Framing } from '../src/h1/body-decoder.ts'
import { compilePolicy } from '../src/h1/compiled-policy.ts'
import { renderRequestHead } from '../src/h1/head-writer.ts'
import type { H1RequestHead } from '../src/h1/request-head.ts'
import { DEFAULT_LIMITS } from '../src/index.ts'
import { TimerWheel } from '../src/timer-wheel.ts'
import { FakeClock } from './support/fake-clock.ts'
import { createHarness, get, TEST_POLICY } from './support/harness.ts'

/** As much of a socket as a client connection uses; the test is the network. */
class PaperSocket extends EventEmitter {
  readonly written: string[] = []
  readonly writableLength = 0
  readonly readableLength = 0
  readonly remoteAddress = '127.0.0.1'
  readonly localPort = 1
  isOver = false
  write(data: string | Uint8Array): boolean {
    this.written.push(typeof data === 'string' ? data : Buffer.from(data).toString('latin1'))
    return true
  }
  end(): void {
    this.isOver = true
  }
  destroy(): void {
    this.isOver = true
  }
  cork(): void {}
  uncork(): void {}
  pause(): void {}
  resume(): void {}
}

/** What an engine made of some bytes: every request as it would be forwarded, and what the client was told. */
function transcribe(pieces: readonly Buffer[]): string {
  const clock = new FakeClock()
  const policy = compilePolicy(TEST_POLICY)
  const log: string[] = []
  const context = new EngineContext({
    limits: { ...DEFAULT_LIMITS, headBytesMax: 700, headFieldsMax: 12, targetBytesMax: 60, trailerBytesMax: 100 },
    policy,
    clock,
    wheel: new TimerWheel(clock),
    log: silentLogger,
    renderError: (status, message) => ({ headers: [], body: `${status} ${message}` }),
    onExchange: () => undefined,
    upstreamTls: {},
    http2Limits: {},
  })
  const owner: ConnectionOwner = {
    context,
    createExchange: (connection, head) => new Transcriber(connection, head, log, policy),
    startExchange: side => (side as Transcriber).start(),
    becomeHttp2: () => {
      throw new Error('no request here begins like the preface')
    },
    forget: () => undefined,
  }
  const socket = new PaperSocket()
  new ClientConnection(owner, socket as unknown as Socket, false)
  for (const piece of pieces) {
    if (socket.isOver) break
    // The memory of a read is used again for the next: nothing may be kept of it.
    const lent = Buffer.from(piece)
    socket.emit('data', lent)
    lent.fill('!')
  }
  return `${log.join('')}\n--\n${socket.written.join('').replace(/date: .*\r\n/g, '')}`
}

class Transcriber implements ExchangeSide, BodySink {
  readonly wantsPayload = false
  readonly #connection: ClientConnection
  readonly #head: H1RequestHead
  readonly #log: string[]
  readonly #policy: ReturnType<typeof compilePolicy>
  constructor(
    connection: ClientConnection,
    head: H1RequestHead,
    log: string[],
    policy: ReturnType<typeof compilePolicy>,
  ) {
    this.#connection = connection
    this.#head = head
    this.#log = log
    this.#policy = policy
  }
  start(): void {
    this.#log.push(renderRequestHead(this.#head, this.#connection.scanner, this.#policy, 'x-cid: 1\r\n', 'b:1'))
    if (this.#connection.body.isComplete) this.#finish()
    else this.#connection.attachSink(this)
  }
  onRequestBody(bytes: Buffer, start: number, end: number): void {
    this.#log.push(bytes.toString('latin1', start, end))
  }
  onRequestEnd(needsFinalCrLf: boolean): void {
    if (needsFinalCrLf) this.#log.push('\r\n')
    this.#finish()
  }
  onRequestMalformed(detail: string): void {
    this.#log.push(`<malformed: ${detail}>`)
    this.#connection.refuse(400, detail, this.#head)
  }
  #finish(): void {
    this.#log.push(`<end ${this.#connection.body.requestBytes}>`)
    this.#connection.finishExchange()
  }
  onRequestStalled(): void {}
  onGone(): void {}
  onDrain(): void {}
  onTunnelBytes(): void {}
  onTunnelEnd(): void {}
  onTunnelDrain(): void {}
}

const FIELDS = [
  'Accept: */*',
  'X-Waiter-Token: t',
  'Cookie: a=1; x-waiter-auth=2; b=3',
  'Connection: keep-alive',
  'Connection: x-hop',
  'X-Hop: 1',
  'X-Empty:',
  'X-Blank: \t ',
  'X-Latin: \xe9\xff',
  'TE: trailers',
  'Authorization: x',
  'Expect: 100-continue',
]

function pick<T>(prng: Prng, values: readonly T[]): T {
  return values[prng.below(values.length)]!
}

function randomBody(prng: Prng): { fields: string[]; body: string; payload: string } {
  const payload = Array.from({ length: prng.below(40) }, () => String.fromCharCode(prng.below(256))).join('')
  if (prng.below(3) === 0) return { fields: [], body: '', payload: '' }
  if (prng.below(2) === 0) return { fields: [`Content-Length: ${payload.length}`], body: payload, payload }
  let body = ''
  for (let rest = payload; rest !== ''; ) {
    const size = 1 + prng.below(rest.length)
    body += `${size.toString(16)}${pick(prng, ['', ';a=b', ';"q x"'])}\r\n${rest.slice(0, size)}\r\n`
    rest = rest.slice(size)
  }
  const trailers = pick(prng, ['', 'X-Sum: 1\r\n', 'A: b\r\nC: d\r\n'])
  return { fields: ['Transfer-Encoding: chunked'], body: `${body}0\r\n${trailers}\r\n`, payload }
}

function randomConversation(prng: Prng): Buffer {
  let text = ''
  for (let count = 1 + prng.below(4); count > 0; count--) {
    const { fields, body } = randomBody(prng)
    const all = ['Host: a.example:80', ...fields]
    for (let extra = prng.below(5); extra > 0; extra--) all.splice(prng.below(all.length + 1), 0, pick(prng, FIELDS))
    const target = pick(prng, ['/', '/a/b?c=d', 'http://a.example:80/x', '/%20', `/${'l'.repeat(prng.below(70))}`])
    const start = `${pick(prng, ['', '', '', '\r\n'])}${pick(prng, ['GET', 'POST', 'HEAD'])} ${target} HTTP/1.${pick(prng, [1, 1, 1, 0])}`
    text += `${start}\r\n${all.join('\r\n')}\r\n\r\n${body}`
  }
  const bytes = Buffer.from(text, 'latin1')
  // Half of the conversations are damaged in a few places.
  if (prng.below(2) === 0) {
    for (let count = 1 + prng.below(3); count > 0; count--) {
      bytes[prng.below(bytes.length)] = pick(prng, [0, 9, 10, 13, 32, 48, 58, 59, 127, 200, 88])
    }
  }
  return bytes
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map(cut => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  const pieces: Buffer[] = []
  let from = 0
  for (const place of [...places, bytes.length]) {
    if (place > from) pieces.push(bytes.subarray(from, place))
    from = place
  }
  return pieces
}

t.test('any segmentation of the same bytes is understood, forwarded and refused in the same way', async t => {
  let refused = 0
  let served = 0
  fc.assert(
    fc.property(fc.integer(), fc.array(fc.nat(3000), { maxLength: 12 }), (seed, cuts) => {
      const bytes = randomConversation(createPrng(seed))
      const whole = transcribe([bytes])
      if (/connection: close/.test(whole)) refused += 1
      if (/<end /.test(whole)) served += 1
      return (
        transcribe(split(bytes, cuts)) === whole && transcribe(Array.from(bytes, byte => Buffer.from([byte]))) === whole
      )
    }),
    { seed: 20_261_123, numRuns: 1_500 },
  )
  t.ok(refused > 300 && served > 300, `both kinds occurred: ${refused} refused, ${served} served`)
})

t.test('what is forwarded can be parsed again to the same request', async t => {
  t.doesNotThrow(
    () =>
      fc.assert(
        fc.property(fc.integer(), seed => {
          const prng = createPrng(seed)
          const { fields, body, payload } = randomBody(prng)
          const decoder = new BodyDecoder(1000, 10)
          const isChunked = fields[0]?.startsWith('Transfer') ?? false
          decoder.reset(isChunked ? Framing.CHUNKED : Framing.LENGTH, payload.length)
          const bytes = Buffer.from(`${body}surplus`, 'latin1')
          const seen: string[] = []
          let offset = 0
          while (!decoder.isComplete) {
            const end = Math.min(bytes.length, offset + 1 + prng.below(9))
            offset = decoder.decode(bytes, offset, end, (chunk, from, to) =>
              seen.push(chunk.toString('latin1', from, to)),
            )
            if (decoder.error !== '') return false
          }
          return seen.join('') === payload && bytes.toString('latin1', offset) === 'surplus'
        }),
        { seed: 7, numRuns: 2_000 },
      ),
    'payloads agree with what was framed',
  )
})

t.test('any segmentation of a response reaches the client unchanged', async t => {
  const harness = await createHarness(t)
  const prng = createPrng(42)
  for (let round = 0; round < 60; round++) {
    const { fields, body, payload } = randomBody(prng)
    const isChunked = fields[0]?.startsWith('Transfer') ?? false
    const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${payload.length}`
    const sent = isChunked ? body : payload
    const client = await harness.client()
    client.write(get('/'))
    const outcome = harness.forward(await harness.nextExchange())
    const upstream = harness.backend.peers[0] ?? (await harness.backend.next())
    await upstream.until('\r\n\r\n')
    upstream.take()
    const response = Buffer.from(
      `HTTP/1.1 103 Hint\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n${framing}\r\nX: y\r\n\r\n${sent}`,
      'latin1',
    )
    for (const piece of split(
      response,
      Array.from({ length: prng.below(8) }, () => prng.below(3000)),
    )) {
      upstream.write(piece)
      await new Promise(resolve => setImmediate(resolve))
    }
    const framed = isChunked ? `X: y\r\ntransfer-encoding: chunked\r\n` : `${framing}\r\nX: y\r\n`
    const expected = `HTTP/1.1 103 Hint\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n${framed}\r\n${sent}`
    t.match(await outcome, { kind: 'completed', status: 200 })
    await client.when(() => client.received.length >= expected.length)
    if (client.text !== expected) t.equal(client.text, expected, `round ${round}`)
    client.socket.destroy()
  }
  t.equal(harness.backend.peers.length, 1, 'all over one backend connection')
})
