/**
 * HTTP/2 server side, answering 100 octets: our engine against `node:http2`.
 *
 *     node benchmarks/h2/quick.ts [--json] [--rounds 5]
 *
 * Both servers run as processes of their own and are loaded in turn, round by round, by h2load when it is installed,
 * else by a `node:http2` client in a third process. CPU per request is the server's user and system time divided by the
 * requests; only ratios within a round count. Takes about 20 seconds.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { systemClock } from '../../packages/proxy/src/clock.ts'
import {
  attachSocket,
  HeaderField,
  Http2Connection,
  type Http2StreamHandler,
  SocketIo,
  TurnScheduler,
} from '../../packages/proxy/src/h2/index.ts'
import { TimerWheel, WheelTimer } from '../../packages/proxy/src/timer-wheel.ts'
import { cpuUsOf } from '../proxy/cpu.ts'

const BODY = Buffer.alloc(100, 'x')
const CONNECTIONS = 4
const STREAMS = 25
const REQUESTS_PER_ROUND = 120_000
/** Like a gRPC client's. */
const REQUEST_FIELDS = {
  'content-type': 'application/grpc',
  'grpc-accept-encoding': 'identity,deflate,gzip',
  'user-agent': 'grpc-node-js/1.10.0',
  'x-request-source': 'benchmark',
  te: 'trailers',
}

interface Sample {
  readonly name: string
  readonly requestsPerSecond: number
  readonly cpuUsPerRequest: number
}

const SERVERS: Readonly<Record<string, () => Promise<number>>> = { waiter: serveOurs, 'node:http2': serveNode }

async function serveOurs(): Promise<number> {
  const wheel = new TimerWheel(systemClock)
  const scheduler = new TurnScheduler()
  const head = [
    new HeaderField(':status', '200'),
    new HeaderField('content-type', 'text/plain'),
    new HeaderField('content-length', '100'),
  ]
  const handler: Http2StreamHandler = {
    onHead() {},
    onInterim() {},
    onData() {},
    onTrailers() {},
    onEnd() {},
    onReset() {},
    onDrain() {},
  }
  const server = createServer({ noDelay: true }, socket => {
    const connection = new Http2Connection({
      role: 'server',
      io: new SocketIo(socket),
      clock: { nowMs: () => performance.now(), createTimer: onTimeout => new WheelTimer(wheel, onTimeout) },
      scheduler,
      owner: {
        onRequest: stream => {
          stream.sendHead(head, false)
          stream.sendData(BODY, 0, BODY.length)
          stream.end()
          return handler
        },
        onRefused: () => {},
        onCapacity: () => {},
        onClosed: () => {},
      },
    })
    attachSocket(socket, connection)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function serveNode(): Promise<number> {
  const server = createHttp2Server()
  server.on('stream', stream => {
    stream.respond({ ':status': 200, 'content-type': 'text/plain', 'content-length': '100' }, {
      sendDate: false,
    } as object)
    stream.end(BODY)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** Closed loop over `node:http2`, for machines without h2load. */
async function loadByNode(port: number, requests: number): Promise<void> {
  let left = requests
  const session = connect(`http://127.0.0.1:${port}`)
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const stream = session.request({ ':path': '/', ...REQUEST_FIELDS })
      stream.resume()
      await once(stream, 'close')
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS * STREAMS }, one))
  session.close()
}

function hasH2load(): boolean {
  try {
    execFileSync('h2load', ['--version'], { timeout: 5000 })
    return true
  } catch {
    return false
  }
}

async function load(port: number, requests: number, byH2load: boolean): Promise<void> {
  const run = promisify(execFile)
  if (!byH2load) {
    await run(process.execPath, [fileURLToPath(import.meta.url), 'load', String(port), String(requests)], {
      timeout: 60_000,
    })
    return
  }
  const fields = Object.entries(REQUEST_FIELDS).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
  const args = [`-n${requests}`, `-c${CONNECTIONS}`, `-m${STREAMS}`, ...fields, `http://127.0.0.1:${port}/`]
  const { stdout } = await run('h2load', args, { timeout: 60_000 })
  if (!stdout.includes(`${requests} succeeded, 0 failed`)) throw new Error(`h2load failed:\n${stdout}`)
}

async function startServer(name: string): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'serve', name], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  return { child, port: Number(line.toString()) }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1]!
}

async function measure(
  name: string,
  server: { child: ChildProcess; port: number },
  byH2load: boolean,
): Promise<Sample> {
  const requests = byH2load ? REQUESTS_PER_ROUND : REQUESTS_PER_ROUND / 8
  const cpuBefore = cpuUsOf([server.child.pid!])
  const startedAtMs = performance.now()
  await load(server.port, requests, byH2load)
  const seconds = (performance.now() - startedAtMs) / 1000
  const cpuUs = cpuUsOf([server.child.pid!]) - cpuBefore
  return { name, requestsPerSecond: requests / seconds, cpuUsPerRequest: cpuUs / requests }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { json: { type: 'boolean' }, rounds: { type: 'string', default: '5' } } })
  const byH2load = hasH2load()
  const names = Object.keys(SERVERS)
  const servers = new Map<string, { child: ChildProcess; port: number }>()
  const samples: Sample[] = []
  try {
    for (const name of names) servers.set(name, await startServer(name))
    for (const name of names) await load(servers.get(name)!.port, 20_000, byH2load)
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const name of names) samples.push(await measure(name, servers.get(name)!, byH2load))
    }
  } finally {
    for (const { child } of servers.values()) child.kill()
  }
  const of = (name: string, key: 'requestsPerSecond' | 'cpuUsPerRequest'): number[] =>
    samples.filter(sample => sample.name === name).map(sample => sample[key])
  const ratios = of('waiter', 'cpuUsPerRequest').map(
    (value, round) => of('node:http2', 'cpuUsPerRequest')[round]! / value,
  )
  const report = {
    loadedBy: byH2load ? 'h2load' : 'node:http2 client',
    cpuUsPerRequest: Object.fromEntries(names.map(name => [name, median(of(name, 'cpuUsPerRequest'))])),
    requestsPerSecond: Object.fromEntries(names.map(name => [name, Math.round(median(of(name, 'requestsPerSecond')))])),
    cpuRatio: median(ratios),
  }
  if (values.json === true) {
    console.log(JSON.stringify(report))
    return
  }
  console.log(`HTTP/2 server, 100 octets, ${CONNECTIONS} connections × ${STREAMS} streams, by ${report.loadedBy}`)
  for (const name of names) {
    const cpu = report.cpuUsPerRequest[name]!.toFixed(2)
    console.log(
      `${name.padEnd(12)} ${cpu.padStart(7)} µs CPU per request ${String(report.requestsPerSecond[name]).padStart(9)} requests/s`,
    )
  }
  console.log(`node:http2 takes ${report.cpuRatio.toFixed(1)} × the CPU`)
}

const [mode, argument = '', count = ''] = process.argv.slice(2)
if (mode === 'serve') console.log(await SERVERS[argument]!())
else if (mode === 'load') await loadByNode(Number(argument), Number(count))
else await main()
