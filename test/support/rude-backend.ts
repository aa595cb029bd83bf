/**
 * A backend without manners: what it does with a connection depends on the path that is asked for. Every other path,
 * `/status` among them, is answered properly. Usage: node rude-backend.ts PORT
 */
import { createServer, type Socket } from 'node:net'

type Manner = (socket: Socket) => void

const answerProperly: Manner = socket => {
  socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello')
}

/** Sends a piece of body again and again until the other side has had enough. */
const neverEnds: Manner = socket => {
  socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
  const timer = setInterval(() => socket.write('5\r\nagain\r\n'), 20)
  socket.once('close', () => clearInterval(timer))
}

const manners: Readonly<Record<string, Manner>> = {
  '/closes': socket => void socket.end(),
  '/resets': socket => void socket.resetAndDestroy(),
  '/never-answers': () => undefined,
  '/garbage': socket => void socket.end('This is not the protocol that you were looking for.\r\n\r\n'),
  '/half-a-head': socket => void socket.end('HTTP/1.1 200 OK\r\ncontent-le'),
  '/closes-mid-body': socket => void socket.end('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this much'),
  '/closes-mid-chunk': socket =>
    void socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\nonly this much'),
  '/two-lengths': socket => void socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!'),
  '/never-ends': neverEnds,
}

const HEAD_BYTES_MAX = 65_536

createServer({ allowHalfOpen: false }, socket => {
  let head = ''
  socket.on('error', () => undefined)
  socket.on('data', piece => {
    if (head.includes('\r\n\r\n')) return
    head = (head + piece.toString('latin1')).slice(0, HEAD_BYTES_MAX)
    if (!head.includes('\r\n\r\n')) return
    const path = head.split(' ', 2)[1] ?? ''
    const manner = manners[path] ?? answerProperly
    manner(socket)
  })
}).listen(Number(process.argv[2]))
