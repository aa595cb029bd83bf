import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import t from 'tap'
import { createPairing, type Pairing } from './support.ts'

const accept = (key: string): string =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')

/** An HTTP/1.1 backend that switches protocols and sends back what it gets; `answer` may replace its handshake. */
async function startBackend(
  t: { teardown(callback: () => void): void },
  onUpgrade: (request: http.IncomingMessage, socket: Duplex) => void,
): Promise<number> {
  const server = http.createServer((_request, response) => response.writeHead(200).end('no WebSocket here'))
  server.on('upgrade', (request, socket) => {
    socket.on('error', () => {})
    onUpgrade(request, socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

function switchProtocols(request: http.IncomingMessage, socket: Duplex, key?: string): void {
  const answer = key ?? accept(request.headers['sec-websocket-key'] ?? '')
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n' +
      `sec-websocket-accept: ${answer}\r\nsec-websocket-protocol: chat\r\n\r\n`,
  )
}

async function openOverHttp2(pairing: Pairing): Promise<http2.ClientHttp2Stream> {
  const { session } = pairing
  if (session.remoteSettings.enableConnectProtocol !== true) await once(session, 'remoteSettings')
  const stream = session.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': '/chat?room=1',
    ':scheme': 'http',
    ':authority': 'service.example',
    'sec-websocket-version': '13',
    'sec-websocket-protocol': 'chat, talk',
  })
  stream.on('error', () => {})
  return stream
}

t.test('HTTP/2 to HTTP/1.1: an extended CONNECT becomes an upgrade; bytes go both ways until both ended', async t => {
  const pairing = await createPairing(t, 'h2', 'http')
  let seen: http.IncomingMessage | undefined
  pairing.backendPort = await startBackend(t, (request, socket) => {
    seen = request
    switchProtocols(request, socket)
    socket.pipe(socket)
  })
  const stream = await openOverHttp2(pairing)
  const [head] = await once(stream, 'response')
  t.equal(pairing.session.remoteSettings.enableConnectProtocol, true)
  t.equal(head[':status'], 200)
  t.equal(head['sec-websocket-protocol'], 'chat')
  t.notOk('sec-websocket-accept' in head || 'upgrade' in head)
  t.match(seen, {
    method: 'GET',
    url: '/chat?room=1',
    headers: { host: 'service.example', 'sec-websocket-version': '13', 'sec-websocket-protocol': 'chat, talk' },
  })
  t.match(seen?.headers['sec-websocket-key'], /^[A-Za-z0-9+/]{22}==$/, 'a key of our own')
  t.equal(pairing.exchanges[0]?.head.isUpgrade, true)
  stream.write('hello')
  const [echoed] = await once(stream, 'data')
  t.equal(String(echoed), 'hello')
  stream.end()
  await once(stream, 'close')
  t.match(await pairing.outcome(), { kind: 'completed', status: 101, tunnelEnd: 'client' })
  t.same(pairing.statuses, [101])
  t.equal(pairing.proxy.stats().activeExchanges, 0)
})

t.test('a handshake that is not accepted as it must be, or not at all', async t => {
  const pairing = await createPairing(t, 'h2', 'http')
  pairing.backendPort = await startBackend(t, (request, socket) => switchProtocols(request, socket, 'wrong'))
  const wrong = await openOverHttp2(pairing)
  const [answer] = await once(wrong, 'response')
  t.equal(answer[':status'], 502)
  t.match(await pairing.outcome(), { kind: 'failed-before-response', reason: 'malformed-response' })

  // A backend that ignores the upgrade answers 200, which to the client would mean that the tunnel is open.
  const plain = await createPairing(t, 'h2', 'http')
  const ignored = await openOverHttp2(plain)
  const [second] = await once(ignored, 'response')
  t.equal(second[':status'], 502)

  const refusing = await createPairing(t, 'h2', 'http')
  refusing.backendPort = await startBackend(t, (_request, socket) =>
    socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nno!\n'),
  )
  const refused = await openOverHttp2(refusing)
  const [third] = await once(refused, 'response')
  t.equal(third[':status'], 403)
  t.match(await refusing.outcome(), { kind: 'completed', status: 403 })
})

t.test('the tunnel breaks with its backend, and the backend hears of a client that cancels', async t => {
  const pairing = await createPairing(t, 'h2', 'http')
  const sockets: Socket[] = []
  pairing.backendPort = await startBackend(t, (request, socket) => {
    sockets.push(socket as Socket)
    socket.on('end', () => socket.end())
    socket.resume()
    switchProtocols(request, socket)
  })
  const first = await openOverHttp2(pairing)
  await once(first, 'response')
  sockets[0]?.resetAndDestroy()
  await once(first, 'close')
  t.match(await pairing.outcome(0), { kind: 'completed', status: 101, tunnelEnd: 'upstream' })
  const second = await openOverHttp2(pairing)
  await once(second, 'response')
  const closed = once(sockets[1]!, 'close')
  second.destroy(new Error('gone'))
  await closed
  t.match(await pairing.outcome(1), { kind: 'completed', status: 101, tunnelEnd: 'client' })
})

t.test('draining closes WebSockets of HTTP/2 clients with 1001, and takes the others along', async t => {
  const pairing = await createPairing(t, 'h2', 'http')
  const atBackend = Promise.withResolvers<Buffer>()
  pairing.backendPort = await startBackend(t, (request, socket) => {
    socket.on('data', (frame: Buffer) => {
      atBackend.resolve(frame)
      // What it got is masked; what a server says is not.
      socket.end(Buffer.from('880203e9', 'hex'))
    })
    switchProtocols(request, socket)
  })
  const stream = await openOverHttp2(pairing)
  await once(stream, 'response')
  const said = once(stream, 'data')
  const closed = once(stream, 'close')
  pairing.proxy.drain()
  t.equal((await said)[0].toString('latin1'), '\x88\x0c\x03\xe9Going away')
  const frame = await atBackend.promise
  t.same([frame[0], frame[1]! & 0x80], [0x88, 0x80], 'a close frame, masked')
  stream.end(Buffer.from('88820000000003e9', 'hex'))
  await closed
  t.match(await pairing.outcome(), { kind: 'completed', status: 101, tunnelEnd: 'drain' })
  t.equal(pairing.proxy.stats().activeExchanges, 0)
})

t.test('HTTP/1.1 to HTTP/2: an upgrade becomes an extended CONNECT where the backend announced it', async t => {
  const pairing = await createPairing(t, 'h1', 'h2c')
  const server = http2.createServer({ settings: { enableConnectProtocol: true } })
  let seen: http2.IncomingHttpHeaders | undefined
  server.on('stream', (stream, headers) => {
    seen = headers
    stream.on('error', () => {})
    stream.respond({ ':status': 200, 'sec-websocket-protocol': 'chat' })
    stream.pipe(stream)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  pairing.backendPort = (server.address() as AddressInfo).port
  const key = Buffer.from('sixteen bytes  !').toString('base64')
  const socket = connect(pairing.port, '127.0.0.1')
  t.teardown(() => void socket.destroy())
  let received = ''
  socket.on('data', chunk => {
    received += chunk.toString('latin1')
  })
  socket.write(
    'GET /chat HTTP/1.1\r\nHost: service.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Protocol: chat\r\n\r\n`,
  )
  while (!received.includes('\r\n\r\n')) await once(socket, 'data')
  t.match(received, /^HTTP\/1\.1 101 /)
  t.match(received, new RegExp(`sec-websocket-accept: ${accept(key).replaceAll(/[+/]/g, '.')}\r\n`))
  t.match(received, /sec-websocket-protocol: chat\r\n/)
  t.match(seen, { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/chat', 'sec-websocket-version': '13' })
  t.notOk(seen !== undefined && 'sec-websocket-key' in seen)
  received = ''
  socket.write('there and back')
  while (!received.includes('there and back')) await once(socket, 'data')
  socket.end()
  await once(socket, 'close')
  t.match(await pairing.outcome(), { kind: 'completed', status: 101, tunnelEnd: 'client' })
})
