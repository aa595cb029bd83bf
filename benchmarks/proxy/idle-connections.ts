import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import type { Contestant } from './contestant.ts'
import { type BenchCase, generate } from './generator.ts'
import { HOST } from './waiter-contestant.ts'

/** The first ones use what earlier loads left lying about; the others show what each costs. Peers allow 8,192. */
const FIRST_CONNECTIONS = 2_000
const MORE_CONNECTIONS = 5_500
const AT_ONCE = 100
/** Lets memory for requests take the size that it has under load, before and after alike. */
const SETTLING: BenchCase = { name: 'settling', path: '/', connections: 64 }
const SETTLING_SECONDS = 2
const REQUEST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`
const RESPONSE_BODY_BYTES = 100

/** Memory of the data plane's processes for each resting client connection beyond the first thousands, in bytes. */
export async function measureIdleConnections({ name, port, pids, dataPlanePids = pids }: Contestant): Promise<number> {
  const sockets: Socket[] = []
  try {
    await openConnections(port, FIRST_CONNECTIONS, sockets)
    await generate(port, SETTLING, SETTLING_SECONDS)
    const before = anonymousBytes(dataPlanePids)
    await openConnections(port, MORE_CONNECTIONS, sockets)
    await generate(port, SETTLING, SETTLING_SECONDS)
    const closed = sockets.filter(socket => socket.closed).length
    if (closed > 0) throw new Error(`${name} closed ${closed} resting connections`)
    return (anonymousBytes(dataPlanePids) - before) / MORE_CONNECTIONS
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

async function openConnections(port: number, count: number, sockets: Socket[]): Promise<void> {
  for (let opened = 0; opened < count; opened += AT_ONCE)
    sockets.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => openConnection(port)))))
}

/** A connection that has carried one request, as all that rest have. */
function openConnection(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port }, () => socket.write(REQUEST))
    let received = ''
    socket.on('data', chunk => {
      received += chunk.toString('latin1')
      if (received.length >= received.indexOf('\r\n\r\n') + 4 + RESPONSE_BODY_BYTES) resolve(socket)
    })
    socket.on('error', reject)
  })
}

/** Without the pages of files, which programs share. */
function anonymousBytes(pids: readonly number[]): number {
  const kibOf = (pid: number): number =>
    Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])
  return pids.reduce((sum, pid) => sum + kibOf(pid), 0) * 1024
}
