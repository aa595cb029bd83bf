import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import type { Contestant } from './contestant.ts'
import { type BenchCase, generate } from './generator.ts'
import { HOST } from './waiter-contestant.ts'

const CONNECTIONS = 3_000
const AT_ONCE = 100
/** Lets memory for requests take the size that it has under load, before and after alike. */
const SETTLING: BenchCase = { name: 'settling', path: '/', connections: 16 }
const SETTLING_SECONDS = 1
/** Long enough for a collector that waits for a quiet moment, short enough for every idle time-out (60 s). */
const REST_MS = 12_000
const REQUEST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`
const RESPONSE_BODY_BYTES = 100

/** Memory of each contestant's data plane for one resting client connection, in bytes. */
export async function measureIdleConnections(
  contestants: readonly Contestant[],
): Promise<Readonly<Record<string, number>>> {
  const sockets: Socket[] = []
  try {
    const before = await restingBytes(contestants)
    for (const { port } of contestants) await openConnections(port, CONNECTIONS, sockets)
    const after = await restingBytes(contestants)
    const closed = sockets.filter(socket => socket.closed).length
    if (closed > 0) throw new Error(`${closed} of ${sockets.length} resting connections were closed`)
    return Object.fromEntries(contestants.map(({ name }, i) => [name, (after[i]! - before[i]!) / CONNECTIONS]))
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

async function restingBytes(contestants: readonly Contestant[]): Promise<readonly number[]> {
  for (const { port } of contestants) await generate(port, SETTLING, SETTLING_SECONDS)
  await new Promise(resolve => setTimeout(resolve, REST_MS))
  return contestants.map(({ pids, dataPlanePids = pids }) => anonymousBytes(dataPlanePids))
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
