/**
 * A backend that streams one step at a time, or breaks off, exactly as the path says. Usage: node stepping-backend.ts PORT
 *
 * - `/steps?id=…&framing=chunked|length|close&count=…` sends one event, then waits for `/confirm?id=…` before the next
 * - `/breaks?framing=…&how=fin|reset` sends a head and a part of the body, then ends
 * - `/flood?bytes=…` as fast as the reader reads; `/flooded` tells how many bytes the kernel took of the last one
 * - `/early` answers before the body has come, then reads it; `/early-close` answers and closes without reading it
 * - `/deaf` never reads a body; `/interim` sends 100 or 103 first; `/trailers`; `/echo` sends back what comes, as it comes
 */
import { createServer, type Socket } from 'node:net'

const PIECE = Buffer.alloc(64 * 1024, 'f')
const waiting = new Map<string, () => void>()
const confirmed = new Map<string, number>()
let flooded = 0

const WITH_BODY: ReadonlySet<string> = new Set(['/early', '/early-close', '/deaf', '/continues', '/refuses', '/echo'])

type Serve = (socket: Socket, query: URLSearchParams, head: string, early: string) => void

const answer = (socket: Socket, body: string, more = ''): void =>
  void socket.write(`HTTP/1.1 200 OK\r\n${more}content-length: ${body.length}\r\n\r\n${body}`)

const HEADS: Readonly<Record<string, (bytes: number) => string>> = {
  chunked: () => 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n',
  length: bytes => `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: ${bytes}\r\n\r\n`,
  close: () => 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n',
}
const chunk = (data: string): string => `${data.length.toString(16)}\r\n${data}\r\n`
const framed = (framing: string, data: string): string => (framing === 'chunked' ? chunk(data) : data)

const eventOf = (step: number): string => `data: step ${String(step).padStart(3, '0')}\n\n`

const serves: Readonly<Record<string, Serve>> = {
  '/status': socket => answer(socket, 'well'),
  '/steps': (socket, query) => {
    const id = query.get('id') ?? ''
    const framing = query.get('framing') ?? 'chunked'
    const count = Number(query.get('count'))
    socket.write((HEADS[framing] as (bytes: number) => string)(count * eventOf(0).length))
    let step = 0
    const next = (): void => {
      if (step === count) {
        if (framing === 'chunked') socket.write('0\r\n\r\n')
        if (framing === 'close') socket.end()
        waiting.delete(id)
        return
      }
      if ((confirmed.get(id) ?? 0) < step) return
      socket.write(framed(framing, eventOf(step)))
      step += 1
    }
    waiting.set(id, next)
    next()
  },
  '/confirm': (socket, query) => {
    const id = query.get('id') ?? ''
    confirmed.set(id, (confirmed.get(id) ?? 0) + 1)
    answer(socket, 'ok')
    waiting.get(id)?.()
  },
  '/breaks': (socket, query) => {
    const framing = query.get('framing') ?? 'chunked'
    socket.write((HEADS[framing] as (bytes: number) => string)(1000) + framed(framing, 'a part'), () => {
      // The part must be on its way before the end overtakes it.
      waiting.set('break', () => (query.get('how') === 'reset' ? socket.resetAndDestroy() : socket.end()))
    })
  },
  '/break': socket => {
    answer(socket, 'ok')
    waiting.get('break')?.()
    waiting.delete('break')
  },
  '/flood': (socket, query) => {
    const bytes = Number(query.get('bytes'))
    flooded = 0
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${bytes}\r\n\r\n`)
    const pour = (): void => {
      while (flooded < bytes) {
        const piece = PIECE.subarray(0, Math.min(PIECE.length, bytes - flooded))
        flooded += piece.length
        if (!socket.write(piece)) {
          socket.once('drain', pour)
          return
        }
      }
    }
    pour()
  },
  '/flooded': socket => answer(socket, String(flooded)),
  '/early': socket => answer(socket, 'early', 'connection: close\r\n'),
  '/early-close': socket =>
    void socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nearly', () =>
      socket.destroySoon(),
    ),
  '/deaf': socket => void socket.pause(),
  '/interim': socket => {
    socket.write('HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n')
    waiting.set('interim', () => answer(socket, 'final'))
  },
  '/go-on': socket => {
    answer(socket, 'ok')
    waiting.get('interim')?.()
  },
  '/trailers': socket =>
    void socket.write(
      `HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n${chunk('body')}0\r\nx-sum: 42\r\n\r\n`,
    ),
  '/continues': (socket, _query, head) => {
    const bytes = Number(/content-length: (\d+)/i.exec(head)?.[1])
    socket.write('HTTP/1.1 100 Continue\r\n\r\n')
    let received = ''
    socket.on('data', piece => {
      received += piece.toString('latin1')
      if (received.length === bytes) answer(socket, `got ${bytes}`, 'connection: close\r\n')
    })
  },
  '/refuses': socket =>
    void socket.write('HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'),
  '/echo': (socket, _query, _head, early) => {
    socket.write(HEADS.chunked?.(0) ?? '')
    const send = (text: string): void => {
      // The request is chunked too, and its chunks are relayed as they are: they are sent back as they came.
      if (text !== '') socket.write(text, 'latin1')
    }
    send(early)
    socket.on('data', piece => send(piece.toString('latin1')))
  },
}

createServer({ allowHalfOpen: false, noDelay: true }, socket => {
  let held = ''
  socket.on('error', () => undefined)
  const read = (piece: Buffer): void => {
    held += piece.toString('latin1')
    const end = held.indexOf('\r\n\r\n')
    if (end < 0) return
    const [head, early] = [held.slice(0, end), held.slice(end + 4)]
    held = ''
    const url = new URL(head.split(' ', 2)[1] ?? '/', 'http://a')
    // Where a body comes, this connection serves nothing else.
    if (WITH_BODY.has(url.pathname)) socket.off('data', read).resume()
    ;(serves[url.pathname] ?? (one => answer(one, 'hello')))(socket, url.searchParams, head, early)
  }
  socket.on('data', read)
}).listen(Number(process.argv[2]))
