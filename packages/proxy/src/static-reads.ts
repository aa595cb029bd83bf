import { connect, createServer, type Socket } from 'node:net'
import { withStaticReads } from './client-socket.ts'

/** A connection to ourselves takes a millisecond. */
const PROBE_MS_MAX = 2_000
const PROBE_BUFFER_BYTES = 64
const PING = 'ping'

let result: Promise<boolean> | undefined

/**
 * Whether this Node lets an accepted connection read into memory of ours (saves about a tenth of a small request). It
 * is not documented for accepted ones, so one real connection tries all that we need of it: bytes in both directions,
 * pause and resume, the end of input, the close. Asked once per process.
 */
export function supportsStaticReads(): Promise<boolean> {
  result ??= probe().catch(() => false)
  return result
}

async function probe(): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>()
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, accepted => {
    try {
      sockets.push(echo(accepted, resolve))
    } catch (error) {
      reject(error)
    }
  })
  const timer = setTimeout(() => resolve(false), PROBE_MS_MAX)
  try {
    server.listen({ host: '127.0.0.1', port: 0 }, () => {
      const { port } = server.address() as { port: number }
      const client = connect({ host: '127.0.0.1', port })
      sockets.push(client)
      let received = ''
      client.on('error', reject)
      client.on('data', chunk => {
        received += chunk.toString('latin1')
        if (received === PING) client.write(PING)
        if (received === PING + PING) client.end()
      })
      client.write(PING)
    })
    server.on('error', reject)
    return await promise
  } finally {
    clearTimeout(timer)
    server.close()
    for (const socket of sockets) socket.destroy()
  }
}

/** Answers what it reads, pausing once in between; true when the client's end has arrived after both pieces. */
function echo(accepted: Socket, resolve: (isSupported: boolean) => void): Socket {
  const buffer = Buffer.alloc(PROBE_BUFFER_BYTES)
  let received = ''
  const socket = withStaticReads(accepted, buffer, {
    onBytes: (bytes, length) => {
      received += bytes.toString('latin1', 0, length)
      socket.write(bytes.toString('latin1', 0, length), 'latin1')
      socket.pause()
      setImmediate(() => socket.resume())
    },
  })
  socket.on('error', () => resolve(false))
  socket.on('end', () => resolve(socket !== accepted && received === PING + PING))
  return socket
}
