import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { BulkBuffers } from '../src/bulk-buffers.ts'
import { ClientSocket, withStaticReads } from '../src/client-socket.ts'
import { InputBuffer } from '../src/input-buffer.ts'
import { supportsStaticReads } from '../src/static-reads.ts'
import { createHarness, get } from './support/harness.ts'

t.test('this Node lets accepted connections read into memory of ours', async t => {
  t.equal(await supportsStaticReads(), true)
})

t.test('a socket without a handle is left alone', async t => {
  const server = createServer()
  const closed = { _handle: null } as unknown as Socket
  t.equal(withStaticReads(closed, Buffer.alloc(1), { onBytes: () => undefined }), closed)
  server.close()
})

t.test('reads arrive in the given memory, and the other side’s end with them', async t => {
  const buffer = Buffer.alloc(4)
  const read = await new Promise<string>((resolve, reject) => {
    let text = ''
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, accepted => {
      const socket = withStaticReads(accepted, buffer, {
        onBytes: (bytes, length) => {
          t.equal(bytes, buffer)
          text += bytes.toString('latin1', 0, length)
        },
      })
      socket.on('end', () => {
        socket.end()
        server.close()
        resolve(text)
      })
      socket.on('error', reject)
    })
    server.listen({ host: '127.0.0.1', port: 0 }, () => {
      const { port } = server.address() as { port: number }
      connect({ host: '127.0.0.1', port }).end('0123456789')
    })
  })
  t.equal(read, '0123456789')
})

t.test('a reset behind an end that still waits for the client closes the socket all the same', async t => {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
  t.teardown(() => server.close())
  await once(server.listen({ host: '127.0.0.1', port: 0 }), 'listening')
  const { port } = server.address() as { port: number }
  const client = connect({ host: '127.0.0.1', port, allowHalfOpen: true }).on('error', () => undefined)
  t.teardown(() => client.destroy())
  const [accepted] = (await once(server, 'connection')) as [Socket]
  const gone = Promise.withResolvers<void>()
  const listener = { onBytes: () => undefined, onEndOfInput: () => undefined, onDrain: () => undefined }
  const socket = new ClientSocket(
    accepted,
    { ...listener, onGone: gone.resolve },
    {
      readBuffer: Buffer.alloc(1024),
      directWrites: null,
    },
  )
  socket.writeText('short')
  socket.endWriting()
  socket.reset()
  await gone.promise
  // Only a closed socket answers with a reset, which a later write hears of.
  const TURNS_MAX = 5_000
  for (let i = 0; i < TURNS_MAX && !client.closed; i++) {
    client.write('anybody there?')
    await new Promise(resolve => setImmediate(resolve))
  }
  t.ok(client.closed, 'the client hears of it')
})

t.test('an input buffer keeps what is left of lent memory, and what comes behind it', async t => {
  const input = new InputBuffer()
  const lent = Buffer.from('abcdef')
  input.lend(lent, 5)
  t.equal(input.bytes, lent, 'looked at where it lies')
  input.consumeTo(2)
  input.keepLent()
  lent.fill('!')
  input.lend(Buffer.from('fgh'), 3)
  input.keepLent()
  t.equal(input.bytes.toString('latin1', input.start, input.end), 'cdefgh')
  input.consumeTo(input.end)
  input.keepLent()
  t.equal(input.length, 0)
})

t.test('bulk buffers go round, and only so many are kept', async t => {
  const buffers = new BulkBuffers()
  const first = buffers.take()
  t.not(buffers.take(), first)
  buffers.giveBack(first)
  t.equal(buffers.take(), first)
  const taken = Array.from({ length: 100 }, () => buffers.take())
  for (const buffer of taken) buffers.giveBack(buffer)
  const again = new Set(Array.from({ length: 100 }, () => buffers.take()))
  t.equal(taken.filter(buffer => again.has(buffer)).length, 64)
})

t.test('a long body arrives whole at a slow client, whichever memory it went through', async t => {
  // More than the kernel buffers for two connections, so that some writes stay pending.
  const BODY_BYTES = 16 * 1024 * 1024
  const WORD_BYTES = 16
  const harness = await createHarness(t)
  // No two words are equal, so that nothing can stand in the place of something else.
  const words = Array.from({ length: BODY_BYTES / WORD_BYTES }, (_, word) => `${word}`.padEnd(WORD_BYTES))
  const body = words.join('')
  // Twice, so that the second time the buffers have been used before.
  for (const round of ['fresh', 'used']) {
    const client = connect({ host: '127.0.0.1', port: harness.port }, () => client.write(get('/', 'Connection: close')))
    const closed = once(client, 'close')
    const pieces: Buffer[] = []
    const outcome = harness.forward(await harness.nextExchange())
    const upstream = await harness.backend.next()
    upstream.write(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${BODY_BYTES}\r\n\r\n${body}`)
    // Nobody reads yet.
    while (harness.proxy.stats().bufferedBytes === 0) await new Promise(resolve => setImmediate(resolve))
    client.on('data', piece => pieces.push(piece))
    t.match(await outcome, { kind: 'completed', status: 200 })
    await closed
    const text = Buffer.concat(pieces).toString('latin1')
    t.ok(text.slice(text.indexOf('\r\n\r\n') + 4) === body, `${round} memory`)
  }
})
