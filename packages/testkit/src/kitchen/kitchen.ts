import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createAsyncRequests } from './async-requests.ts'
import { isAuthorized } from './authorization.ts'
import { type Certificate, loadCertificate } from './certificate.ts'
import type { KitchenContext, KitchenState } from './context.ts'
import { type KitchenOptions, kitchenDefaults } from './options.ts'
import { pageFor } from './pages.ts'
import { sendReply } from './reply.ts'
import { createRequestLog } from './request-log.ts'
import { createVisit, sleep, type Visit } from './visit.ts'
import { serveWebSocket } from './web-socket.ts'

/** A test backend inside this process. */
export interface Kitchen {
  /** Starts to listen (after `startUpSleepMs`) and tells the URL, with the port the system chose for port 0. */
  listen(): Promise<string>
  /** The port; 0 before `listen`. */
  port(): number
  state(): KitchenState
  /** Cuts all connections and stops listening. */
  close(): Promise<void>
}

/** What a test may replace. */
export interface KitchenPorts {
  /** Called for `/die` and its like; by default the process exits. */
  readonly exit?: (code: number) => void
}

/** Large enough for every test of large headers; the proxy's own limit is smaller. */
const HEAD_BYTES_MAX = 256 * 1024

/** Makes the backend of the specification's section 11.1. Nothing listens before `listen()`. */
export function createKitchen(wanted: Partial<KitchenOptions> = {}, ports: KitchenPorts = {}): Kitchen {
  const options = { ...kitchenDefaults, ...wanted }
  const sockets = new Set<Socket>()
  const context = createContext(options, ports.exit ?? (code => process.exit(code)))
  let server: Server | undefined
  return {
    listen: async () => {
      await sleep(options.startUpSleepMs)
      const certificate = await loadCertificate(options)
      server = createServer(options, certificate, (request, response) => void serve(context, request, response))
      server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
        upgrade(context, request, socket, head)
      })
      server.on('connection', (socket: Socket) => {
        sockets.add(socket)
        socket.on('error', () => undefined)
        socket.once('close', () => sockets.delete(socket))
      })
      await listening(server, options)
      const scheme = certificate === undefined ? 'http' : 'https'
      return `${scheme}://${options.hostname ?? 'localhost'}:${(server.address() as AddressInfo).port}`
    },
    port: () => (server?.address() as AddressInfo | null | undefined)?.port ?? 0,
    state: () => context.state('nobody'),
    close: async () => {
      for (const socket of sockets) socket.destroy()
      const closing = server
      if (closing?.listening) await new Promise<void>(resolve => closing.close(() => resolve()))
    },
  }
}

interface Context extends KitchenContext {
  readonly counts: { pendingHttp: number; pendingWs: number; totalHttp: number; totalWs: number }
  readonly log: (line: () => string) => void
}

function createContext(options: KitchenOptions, exit: (code: number) => void): Context {
  const counts = { pendingHttp: 0, pendingWs: 0, totalHttp: 0, totalWs: 0 }
  const asyncRequests = createAsyncRequests(() => performance.now())
  let changed = { status: 200, untilMs: 0 }
  return {
    options,
    counts,
    asyncRequests,
    exit,
    log: createRequestLog(options.logOutput),
    state: asker => ({
      'async-requests': asyncRequests.count(),
      'pending-http-requests': counts.pendingHttp - (asker === 'http' ? 1 : 0),
      'pending-ws-requests': counts.pendingWs - (asker === 'ws' ? 1 : 0),
      'total-http-requests': counts.totalHttp - (asker === 'http' ? 1 : 0),
      'total-ws-requests': counts.totalWs - (asker === 'ws' ? 1 : 0),
    }),
    defaultStatus: visit => {
      if (!options.enableStatusChange) return 200
      const status = visit.wishNumber('default-status-value', 0)
      if (status >= 200 && status <= 999) {
        changed = { status, untilMs: performance.now() + visit.wishNumber('default-status-timeout', 0) }
      }
      return performance.now() < changed.untilMs ? changed.status : 200
    },
  }
}

type Listener = (request: IncomingMessage, response: ServerResponse) => void

/** Modules are fetched when needed, and without `import`: that keeps a start well below 100 ms (see README.md). */
function createServer(options: KitchenOptions, certificate: Certificate | undefined, listener: Listener): Server {
  const http1 = {
    keepAliveTimeout: 0,
    maxHeaderSize: HEAD_BYTES_MAX,
    requireHostHeader: false,
    shouldUpgradeCallback: (request: IncomingMessage) => request.headers.upgrade?.toLowerCase() === 'websocket',
  }
  if (options.http2) {
    const http2 = process.getBuiltinModule('node:http2')
    const server =
      certificate === undefined
        ? http2.createServer(listener as never)
        : http2.createSecureServer({ ...http1, ...certificate, allowHTTP1: true }, listener as never)
    return server as unknown as Server
  }
  if (certificate === undefined) return process.getBuiltinModule('node:http').createServer(http1, listener)
  return process.getBuiltinModule('node:https').createServer({ ...http1, ...certificate }, listener)
}

function listening(server: Server, options: KitchenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    const host = options.hostname === undefined ? {} : { host: options.hostname }
    server.listen({ port: options.port, ...host }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

async function serve(context: Context, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { counts } = context
  counts.pendingHttp++
  counts.totalHttp++
  const arrivedMs = performance.now()
  response.once('close', () => {
    counts.pendingHttp--
    context.log(
      () =>
        `${request.method} ${request.url} ${response.statusCode} ${Math.round(performance.now() - arrivedMs)} ms ` +
        `cid=${request.headers['x-cid'] ?? ''}`,
    )
  })
  try {
    await answer(context, createVisit(request, response))
  } catch {
    // The visitor left while it was read or written to: nobody is there to be told.
    response.destroy()
  }
}

async function answer(context: Context, visit: Visit): Promise<void> {
  const { options } = context
  const dieAfterMs = visit.wish('die-after-ms')
  if (dieAfterMs !== undefined) setTimeout(() => context.exit(1), visit.wishNumber('die-after-ms', 0))
  if (!isAuthorized(visit.request, visit.path, options)) {
    return sendReply(visit, { status: 403, body: 'The user name or the password is wrong' }, options)
  }
  const isEcho = visit.wishFlag('echo')
  if (!isEcho) await consumeBody(visit)
  if (!visit.path.startsWith('/async/')) await sleepUnlessGone(visit, visit.wishNumber('delay-ms', 0))
  if (visit.wishFlag('fail-by-terminating-jvm')) visit.response.once('finish', () => context.exit(1))
  if (visit.wishFlag('act-busy')) return sendReply(visit, { status: 503, body: 'This kitchen is busy' }, options)
  return sendReply(visit, await pageFor(visit.path)(visit, context), options)
}

async function consumeBody(visit: Visit): Promise<void> {
  const { request } = visit
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (request.httpVersionMajor === 1 && encoding === undefined && (length === undefined || length === '0')) return
  for await (const chunk of request) visit.requestBytes += (chunk as Buffer).length
}

async function sleepUnlessGone({ response }: Visit, ms: number): Promise<void> {
  if (ms <= 0) return
  await new Promise<void>(resolve => {
    const timer = setTimeout(resolve, ms)
    response.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}

function upgrade(context: Context, request: IncomingMessage, socket: Socket, head: Buffer): void {
  const { counts } = context
  counts.pendingWs++
  counts.totalWs++
  socket.once('close', () => counts.pendingWs--)
  socket.on('error', () => undefined)
  context.log(() => `${request.method} ${request.url} websocket cid=${request.headers['x-cid'] ?? ''}`)
  serveWebSocket(context, { request, socket, head })
}
