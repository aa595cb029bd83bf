/**
 * A quick check that the wire engine is still fast: the engine against a `node:http` + `http.Agent` proxy, both adding
 * the same fields, each in a process of its own, in short interleaved rounds on loopback.
 *
 * Prints requests per CPU-second of the proxy process (user and system time) and the ratio. Only the ratio means
 * something: machine, kernel and neighbours cancel out.
 *
 *     node benchmarks/proxy/quick.ts [rounds=5] [roundMs=600]
 */
import { type ChildProcess, fork } from 'node:child_process'
import http from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { createProxyServer, renderHeader } from '../../packages/proxy/src/index.ts'

const CLIENTS = 32
const BODY = 'x'.repeat(100)
const RESPONSE = `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`
const REQUEST =
  'GET /some/path?with=query HTTP/1.1\r\nHost: service.example:8080\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n' +
  'Accept-Encoding: gzip, deflate\r\nX-Waiter-Token: abc\r\nCookie: a=b; c=d\r\n\r\n'
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

const role = process.argv[2] ?? ''
if (role === 'backend') serveBackend()
else if (role === 'engine') await serveEngine(Number(process.argv[3]))
else if (role === 'http') serveHttp(Number(process.argv[3]))
else await main(Number(process.argv[2] ?? 5), Number(process.argv[3] ?? 600))

/** Answers every request head with the same bytes. */
function serveBackend(): void {
  const server = createServer({ noDelay: true }, socket => {
    let tail = ''
    socket.on('data', chunk => {
      tail += chunk.toString('latin1')
      let answers = ''
      for (let end = tail.indexOf('\r\n\r\n'); end >= 0; end = tail.indexOf('\r\n\r\n')) {
        answers += RESPONSE
        tail = tail.slice(end + 4)
      }
      if (answers !== '') socket.write(answers, 'latin1')
    })
    socket.on('error', () => undefined)
  })
  server.listen(0, '127.0.0.1', () => announce((server.address() as { port: number }).port))
}

async function serveEngine(backendPort: number): Promise<void> {
  const extra = renderHeader('x-cid', 'cid-1') + renderHeader('via', '1.1 waiter')
  const server = createProxyServer({
    headerPolicy: { dropRequest: { names: ['authorization'], prefixes: ['x-waiter-'] } },
    log: silent,
    onExchange: exchange =>
      exchange.forward({
        host: '127.0.0.1',
        port: backendPort,
        extraRequestHead: extra,
        extraResponseHead: extra,
        connectTimeoutMs: 1000,
        responseTimeoutMs: 10_000,
        streamIdleTimeoutMs: 10_000,
        onOutcome: () => undefined,
      }),
  })
  announce((await server.listen({ host: '127.0.0.1', port: 0 })).port)
}

function serveHttp(backendPort: number): void {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1024 })
  const server = http.createServer((request, response) => {
    const headers: http.OutgoingHttpHeaders = { ...request.headers, 'x-cid': 'cid-1', via: '1.1 waiter' }
    for (const name of Object.keys(headers)) if (name.startsWith('x-waiter-')) delete headers[name]
    delete headers.connection
    const upstream = http.request(
      { host: '127.0.0.1', port: backendPort, agent, method: request.method, path: request.url, headers },
      answer => {
        response.writeHead(answer.statusCode ?? 502, { ...answer.headers, 'x-cid': 'cid-1', via: '1.1 waiter' })
        answer.pipe(response)
      },
    )
    upstream.on('error', () => response.destroy())
    request.pipe(upstream)
  })
  server.listen(0, '127.0.0.1', () => announce((server.address() as { port: number }).port))
}

/** Tells the parent our port, and our CPU time whenever it asks. */
function announce(port: number): void {
  process.send?.({ port })
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    process.send?.({ cpuUs: user + system })
  })
  process.on('disconnect', () => process.exit(0))
}

async function main(rounds: number, roundMs: number): Promise<void> {
  const backend = start(['backend'])
  const backendPort = (await reply(backend)).port!
  const contestants = await Promise.all(
    ['engine', 'http'].map(async name => {
      const child = start([name, String(backendPort)])
      return { name, child, port: (await reply(child)).port! }
    }),
  )
  for (const { port } of contestants) await load(port, 400)
  const ratios: number[] = []
  for (let round = 0; round < rounds; round++) {
    const perCpuSecond: number[] = []
    for (const { name, child, port } of contestants) {
      const before = await cpuUs(child)
      const requests = await load(port, roundMs)
      const spentUs = (await cpuUs(child)) - before
      perCpuSecond.push((requests / spentUs) * 1e6)
      console.log(
        `round ${round + 1} ${name.padEnd(6)} ${requests} requests, ${((requests / spentUs) * 1e6).toFixed(0)} per CPU-second, ` +
          `${(spentUs / requests).toFixed(1)} us each`,
      )
    }
    ratios.push(perCpuSecond[0]! / perCpuSecond[1]!)
  }
  ratios.sort((a, b) => a - b)
  console.log(`ratio engine / node:http: ${ratios[ratios.length >> 1]!.toFixed(2)} (median of ${rounds})`)
  for (const child of [backend, ...contestants.map(({ child }) => child)]) child.disconnect()
}

function start(args: string[]): ChildProcess {
  return fork(fileURLToPath(import.meta.url), args)
}

function reply(child: ChildProcess): Promise<{ port?: number; cpuUs?: number }> {
  return new Promise((resolve, reject) => {
    const died = (): void => reject(new Error('a contestant died'))
    child.once('exit', died)
    child.once('message', message => {
      child.off('exit', died)
      resolve(message as { port?: number; cpuUs?: number })
    })
  })
}

async function cpuUs(child: ChildProcess): Promise<number> {
  const answer = reply(child)
  child.send('cpu')
  return (await answer).cpuUs!
}

/** Closed loop over keep-alive connections; returns the requests answered. */
async function load(port: number, durationMs: number): Promise<number> {
  let answered = 0
  const until = performance.now() + durationMs
  const client = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket: Socket = connect({ host: '127.0.0.1', port, noDelay: true }, () => socket.write(REQUEST, 'latin1'))
      let received = ''
      socket.on('data', chunk => {
        received += chunk.toString('latin1')
        const head = received.indexOf('\r\n\r\n')
        if (head < 0 || received.length < head + 4 + BODY.length) return
        if (!received.startsWith('HTTP/1.1 200')) reject(new Error(received))
        received = ''
        answered += 1
        if (performance.now() < until) socket.write(REQUEST, 'latin1')
        else socket.end(resolve)
      })
      socket.on('error', reject)
    })
  await Promise.all(Array.from({ length: CLIENTS }, client))
  return answered
}
