import { once } from 'node:events'
import { connect } from 'node:http2'
import { fileURLToPath } from 'node:url'
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { eventually, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { echoService } from './support/grpc-echo.ts'
import { readRequestLog } from './support/request-log.ts'
import { describeService, postToken } from './support/services.ts'

const waiter = await startWaiter()
const script = fileURLToPath(new URL('support/grpc-backend.ts', import.meta.url))
const service = (changes = {}) =>
  describeService(`exec '${process.execPath}' '${script}' $PORT0 $PORT1`, {
    name: 'grpc',
    ports: 2,
    'backend-proto': 'h2c',
    'health-check-proto': 'http',
    'health-check-port-index': 1,
    ...changes,
  })
await postToken(waiter, 'grpc', service({ 'concurrency-level': 20 }))
await postToken(waiter, 'narrow', service({ 'concurrency-level': 1, 'max-instances': 1, name: 'narrow' }))

const client = new Client(`127.0.0.1:${waiter.port}`, credentials.createInsecure(), {
  'grpc.max_receive_message_length': 16 * 1024 * 1024,
})
t.teardown(async () => {
  client.close()
  await waiter.stop()
})

function metadataFor(token: string, fields: Record<string, string> = {}): Metadata {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries({ 'x-waiter-token': token, ...fields })) metadata.set(name, value)
  return metadata
}

const { unary, serverStream, clientStream, both } = echoService

interface Reply {
  readonly error: ServiceError | null
  readonly bytes: Buffer | undefined
  readonly headers: Metadata
  readonly trailers: Metadata
}

function call(message: Buffer | string, metadata = metadataFor('grpc'), deadlineMs = 60_000): Promise<Reply> {
  return new Promise(resolve => {
    let headers = new Metadata()
    let trailers = new Metadata()
    let reply: { error: ServiceError | null; bytes: Buffer | undefined } | undefined
    const request = client.makeUnaryRequest(
      unary.path,
      unary.requestSerialize,
      unary.responseDeserialize,
      Buffer.from(message),
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error, bytes) => {
        reply = { error, bytes }
      },
    )
    request.on('metadata', metadata => {
      headers = metadata
    })
    request.on('status', found => {
      trailers = found.metadata
      setImmediate(() => resolve({ error: reply?.error ?? null, bytes: reply?.bytes, headers, trailers }))
    })
  })
}

t.test('unary: the service starts, answers, and its trailers arrive', async t => {
  const { error, bytes, headers, trailers } = await call('hello', metadataFor('grpc', { 'x-waiter-debug': 'true' }))
  t.equal(error, null)
  t.equal(String(bytes), 'hello')
  t.same(trailers.get('x-how'), ['echoed'])
  t.same(headers.get('x-waiter-client-protocol'), ['HTTP/2.0'])
  t.same(headers.get('x-waiter-internal-protocol'), ['HTTP/2.0'])
  t.same(headers.get('x-waiter-backend-proto'), ['h2c'])
  t.equal(headers.get('x-cid').length, 1)
})

t.test('unary: a large message', async t => {
  const message = Buffer.alloc(5 * 1024 * 1024, 'abcdefg')
  const { error, bytes } = await call(message)
  t.equal(error, null)
  t.ok(bytes?.equals(message))
})

t.test('an error of the service arrives as it is, with its metadata', async t => {
  const { error, trailers } = await call(`fail ${status.ABORTED}`)
  t.equal(error?.code, status.ABORTED)
  t.equal(error?.details, 'as you wish')
  t.same(trailers.get('x-how'), ['failed'])
})

t.test('the request log has the status of each call, also when it came in trailers', async t => {
  await call('hello', metadataFor('grpc', { 'x-cid': 'logged-ok' }))
  await call(`fail ${status.ABORTED}`, metadataFor('grpc', { 'x-cid': 'logged-aborted' }))
  const lineOf = (cid: string) =>
    eventually(() => readRequestLog(waiter).find(line => line.cid === cid), `line of ${cid}`)
  t.match(await lineOf('logged-ok'), { status: 200, 'grpc-status': '0' })
  t.match(await lineOf('logged-aborted'), { status: 200, 'grpc-status': String(status.ABORTED) })
})

t.test('server streaming', async t => {
  const stream = client.makeServerStreamRequest(
    serverStream.path,
    serverStream.requestSerialize,
    serverStream.responseDeserialize,
    Buffer.from('500'),
    metadataFor('grpc'),
  )
  const messages: string[] = []
  stream.on('data', message => messages.push(String(message)))
  const [found] = await once(stream, 'status')
  t.equal(found.code, status.OK)
  t.equal(messages.length, 500)
  t.equal(messages[499], 'message 499')
  t.same(found.metadata.get('x-how'), ['streamed'])
})

t.test('client streaming', async t => {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>()
  const stream = client.makeClientStreamRequest(
    clientStream.path,
    clientStream.requestSerialize,
    clientStream.responseDeserialize,
    metadataFor('grpc'),
    (error, reply) => resolve(error === null ? reply : undefined),
  )
  for (let i = 0; i < 300; i++) if (!stream.write(Buffer.alloc(10_000))) await once(stream, 'drain')
  stream.end()
  t.equal(String(await promise), '3000000')
})

t.test('both ways at once: each message comes back before the next is sent', async t => {
  const stream = client.makeBidiStreamRequest(
    both.path,
    both.requestSerialize,
    both.responseDeserialize,
    metadataFor('grpc'),
  )
  for (let i = 0; i < 50; i++) {
    stream.write(Buffer.from(`ping ${i}`))
    const [message] = await once(stream, 'data')
    t.equal(String(message), `ping ${i}`)
  }
  stream.end()
  const [found] = await once(stream, 'status')
  t.equal(found.code, status.OK)
})

t.test('a call that the client cancels is cancelled at the service', async t => {
  const before = Number(String((await call('cancelled')).bytes))
  const stream = client.makeServerStreamRequest(
    serverStream.path,
    serverStream.requestSerialize,
    serverStream.responseDeserialize,
    Buffer.from('1 forever'),
    metadataFor('grpc'),
  )
  stream.on('error', () => {})
  await once(stream, 'data')
  stream.cancel()
  const isCancelled = async () => Number(String((await call('cancelled')).bytes)) === before + 1 || undefined
  t.ok(await eventually(isCancelled, 'the cancellation'))
})

t.test("Waiter's own errors have a gRPC status and message", async t => {
  const { error } = await call('hello', metadataFor('nobody-knows-this'))
  t.equal(error?.code, status.NOT_FOUND)
  t.match(error?.details, /nobody-knows-this/)
})

/** Keeps the one slot of the service `narrow` until it is cancelled. */
async function occupyNarrow() {
  await call('hello', metadataFor('narrow'))
  const slow = client.makeServerStreamRequest(
    serverStream.path,
    serverStream.requestSerialize,
    serverStream.responseDeserialize,
    Buffer.from('1 forever'),
    metadataFor('narrow'),
  )
  slow.on('error', () => {})
  await once(slow, 'data')
  return slow
}

t.test('a call that waited is forwarded with what is left of its deadline', async t => {
  const DEADLINE_MS = 50_000
  const slow = await occupyNarrow()
  const reply = call('deadline', metadataFor('narrow'), DEADLINE_MS)
  const isWaiting = async () => {
    const { text } = await waiter.request({ path: '/metrics', headers: { accept: 'application/json' } })
    return text.includes('"waiting-for-available-instance":1') || undefined
  }
  await eventually(isWaiting, 'a request that waits')
  const sinceMs = performance.now()
  for (let count = 0; count < 50; count++) await call('hello')
  const waitedMs = performance.now() - sinceMs
  slow.cancel()
  const leftMs = Number(String((await reply).bytes))
  t.ok(leftMs > 0 && leftMs <= DEADLINE_MS - waitedMs + 1, `${leftMs} ms were left after ${waitedMs} ms`)
})

t.test('grpc-timeout bounds the wait for an instance; the error says that none was free', async t => {
  const slow = await occupyNarrow()
  const session = connect(`http://127.0.0.1:${waiter.port}`)
  const stream = session.request({
    ':method': 'POST',
    ':path': unary.path,
    'content-type': 'application/grpc',
    te: 'trailers',
    'grpc-timeout': '200m',
    'x-waiter-token': 'narrow',
  })
  stream.end(Buffer.from([0, 0, 0, 0, 1, 65]))
  const [head] = await once(stream, 'response')
  t.equal(head[':status'], 200)
  t.equal(head['grpc-status'], String(status.DEADLINE_EXCEEDED))
  t.match(decodeURIComponent(head['grpc-message']), /no instance available/)
  t.equal(head['content-type'], 'application/grpc')
  session.destroy()
  slow.cancel()
})
