/**
 * Sends requests when their time has come, whether earlier ones were answered or not, and prints how long each took from
 * then on: `RESULT requests p50us p99us`. Times come once a millisecond, so requests come in bursts of that.
 *
 *     node benchmarks/proxy/open-loop.ts PORT HOST REQUESTS_PER_SECOND SECONDS
 */
import { connect, type Socket } from 'node:net'

const [port = 0, , requestsPerSecond = 0, seconds = 0] = process.argv.slice(2).map(Number)
const request = `GET / HTTP/1.1\r\nHost: ${process.argv[3]}\r\n\r\n`
const CONNECTIONS = 64
const WARM_UP_MS = 1_000
const TICK_MS = 1
const ANSWER_BODY_BYTES = 100
const US_PER_MS = 1_000

interface Client {
  readonly socket: Socket
  received: string
  dueAtMs: number
}

const free: Client[] = []
/** Due, but no connection was free: counted from when they were due all the same. */
const waiting: number[] = []
const latenciesUs: number[] = []
let isCounting = false

await Promise.all(Array.from({ length: CONNECTIONS }, open))
const startedAtMs = performance.now()
const endsAtMs = startedAtMs + WARM_UP_MS + seconds * 1_000
let sent = 0
const timer = setInterval(tick, TICK_MS)

function tick(): void {
  const nowMs = performance.now()
  isCounting = nowMs >= startedAtMs + WARM_UP_MS
  if (nowMs >= endsAtMs) {
    clearInterval(timer)
    finish()
    return
  }
  const due = ((nowMs - startedAtMs) * requestsPerSecond) / 1_000
  for (; sent < due; sent++) {
    const client = free.pop()
    if (client === undefined) waiting.push(nowMs)
    else send(client, nowMs)
  }
}

function send(client: Client, dueAtMs: number): void {
  client.dueAtMs = dueAtMs
  client.received = ''
  client.socket.write(request, 'latin1')
}

function open(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true }, () => {
      free.push(client)
      resolve()
    })
    const client: Client = { socket, received: '', dueAtMs: 0 }
    socket.on('error', reject)
    socket.on('data', chunk => {
      client.received += chunk.toString('latin1')
      const head = client.received.indexOf('\r\n\r\n')
      if (head < 0 || client.received.length < head + 4 + ANSWER_BODY_BYTES) return
      if (!client.received.startsWith('HTTP/1.1 200')) throw new Error(client.received)
      if (isCounting) latenciesUs.push((performance.now() - client.dueAtMs) * US_PER_MS)
      const dueAtMs = waiting.shift()
      if (dueAtMs === undefined) free.push(client)
      else send(client, dueAtMs)
    })
  })
}

function finish(): void {
  latenciesUs.sort((a, b) => a - b)
  const at = (share: number): number => Math.round(latenciesUs[Math.floor(latenciesUs.length * share)] ?? 0)
  process.stdout.write(`RESULT ${latenciesUs.length} ${at(0.5)} ${at(0.99)}\n`)
  process.exit(0)
}
