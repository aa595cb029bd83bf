import { randomUUID } from 'node:crypto'
import { type IncomingMessage, type RequestOptions, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { setTimeout as wait } from 'node:timers/promises'
import type { Cluster, HttpSettings } from '../config/cluster.ts'
import { VERSION } from '../version.ts'
import { connectionProblem } from './problems.ts'

/** One call of a Waiter's API. */
export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** With the query, below the cluster's URL. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** How long it may be silent; as configured when absent. */
  readonly readTimeoutMs?: number
}

/** An answer, read to its end. */
export interface ApiAnswer {
  readonly status: number
  /** Lower-case name → value. */
  header(name: string): string | undefined
  readonly body: Buffer
}

/** Sends requests to one cluster. */
export interface WaiterClient {
  readonly cluster: Cluster
  /** @throws WaiterError when there is no answer */
  send(request: ApiRequest): Promise<ApiAnswer>
}

/** Longer than any answer to a command; the largest are files, of which Waiter sends 64 MiB at a time. */
const BODY_BYTES_MAX = 65 * 1024 * 1024
const RETRY_FIRST_MS = 200
/** Whatever trickles in. */
const TOTAL_TIMEOUT_MS = 3_700_000
const SERVICE_UNAVAILABLE = 503

/**
 * A client with bounded time-outs and retries: what changes something, or waits long, is repeated only if it never left.
 * Redirects are not followed: credentials are for the host that was named.
 */
export function createClient(options: {
  readonly cluster: Cluster
  readonly http: HttpSettings
  /** For `--verbose`: one line per attempt, without credentials. */
  readonly trace: (line: string) => void
}): WaiterClient {
  const { cluster, http, trace } = options
  return {
    cluster,
    send: async request => {
      for (let attempt = 0; ; attempt++) {
        const isLast = attempt >= http.retries
        const outcome = await attemptOnce(cluster, http, request, trace)
        // Whoever waits longer than usual has waited when it fails.
        const isRepeatable = request.method === 'GET' && request.readTimeoutMs === undefined
        if (outcome.kind === 'answer') {
          if (isLast || !isRepeatable || outcome.answer.status !== SERVICE_UNAVAILABLE) return outcome.answer
        } else if (isLast || (!isRepeatable && outcome.wasSent)) {
          throw connectionProblem(cluster, outcome.error)
        }
        await wait(RETRY_FIRST_MS * 2 ** attempt)
      }
    },
  }
}

type Outcome =
  | { readonly kind: 'answer'; readonly answer: ApiAnswer }
  | { readonly kind: 'failed'; readonly error: Error; readonly wasSent: boolean }

async function attemptOnce(
  cluster: Cluster,
  http: HttpSettings,
  request: ApiRequest,
  trace: (line: string) => void,
): Promise<Outcome> {
  const cid = `waiter-${VERSION}-${randomUUID()}`
  const startedMs = performance.now()
  const outcome = await exchange(cluster, http, request, cid)
  const result = outcome.kind === 'answer' ? String(outcome.answer.status) : outcome.error.message
  const ms = Math.round(performance.now() - startedMs)
  trace(`${request.method} ${cluster.url}${request.path} → ${result} in ${ms} ms (x-cid ${cid})`)
  return outcome
}

function exchange(cluster: Cluster, http: HttpSettings, request: ApiRequest, cid: string): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>()
  const url = new URL(cluster.url + request.path)
  const send = url.protocol === 'https:' ? requestHttps : requestHttp
  const options: RequestOptions = {
    method: request.method,
    headers: headersOf(cluster, request, cid),
    agent: false,
    signal: AbortSignal.timeout(TOTAL_TIMEOUT_MS),
  }
  let wasSent = false
  const outgoing = send(url, options)
  const fail = (error: Error): void => {
    resolve({ kind: 'failed', error, wasSent })
    outgoing.destroy()
  }
  const connecting = setTimeout(
    () => fail(new Error(`no connection within ${http.connectTimeoutMs} ms`)),
    http.connectTimeoutMs,
  )
  const readTimeoutMs = request.readTimeoutMs ?? http.readTimeoutMs
  outgoing.once('socket', socket => {
    socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => {
      clearTimeout(connecting)
      wasSent = true
      outgoing.setTimeout(readTimeoutMs, () => fail(new Error(`no answer within ${readTimeoutMs} ms`)))
    })
  })
  outgoing.once('close', () => clearTimeout(connecting))
  outgoing.on('error', fail)
  outgoing.once(
    'response',
    incoming => void readBody(incoming).then(answer => resolve({ kind: 'answer', answer }), fail),
  )
  outgoing.end(request.body)
  return promise
}

function headersOf(cluster: Cluster, request: ApiRequest, cid: string): Record<string, string> {
  const { credentials } = cluster
  return {
    accept: 'application/json',
    'user-agent': `waiter/${VERSION} (node ${process.versions.node})`,
    'x-cid': cid,
    ...(request.body === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(request.body)) }),
    ...(credentials === undefined ? {} : { authorization: authorizationOf(credentials) }),
    ...request.headers,
  }
}

function authorizationOf(credentials: NonNullable<Cluster['credentials']>): string {
  if (credentials.kind === 'bearer') return `Bearer ${credentials.key}`
  return `Basic ${Buffer.from(`${credentials.user}:${credentials.pass}`).toString('base64')}`
}

async function readBody(incoming: IncomingMessage): Promise<ApiAnswer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > BODY_BYTES_MAX) throw new Error(`the answer is larger than ${BODY_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  const { headers, statusCode = 0 } = incoming
  return {
    status: statusCode,
    header: name => {
      const value = headers[name]
      return Array.isArray(value) ? value.join(', ') : value
    },
    body: Buffer.concat(chunks),
  }
}
