import type { Exchange, HeaderGetter, Refusal } from '@waiter/proxy'
import type { Descriptor } from '@waiter/services'
import { LineWriter, ready, toAsciiJson, wireToAsciiJson } from './line-writer.ts'
import type { LogFileStats } from './log-file.ts'
import { WallClock } from './wall-clock.ts'

/** Services name fields that must not be logged in this variable of their `env`, comma-separated (spec §9.3). */
export const REDACTION_VARIABLE = 'WAITER_CONFIG_REDACTED_REQUEST_FIELDS'
/** Never logged, whatever is configured: they are credentials. */
const SECRET_HEADERS: ReadonlySet<string> = new Set([
  ...['authorization', 'cookie', 'proxy-authorization', 'set-cookie', 'x-waiter-auth', 'x-waiter-jwt'],
])
const NS_PER_MS = 1_000_000
const INSTANCES_REMEMBERED_MAX = 1_000
const DIGITS = /^\d{1,15}$/
const NOTHING: Uint8Array = new Uint8Array(0)
const PROTOCOLS: Readonly<Record<string, string>> = { '1.0': 'HTTP/1.0', '1.1': 'HTTP/1.1', '2.0': 'HTTP/2.0' }

/** What kind of request it was, as the log calls it. */
export type RequestType = 'waiter-api' | 'waiter-proxy' | 'ping' | 'websocket-upgrade' | 'async-status-check'

/** Where lines go. */
export interface LineSink {
  /** @param bytes memory that the next line overwrites */
  append(bytes: Buffer, length: number): void
  stats(): LogFileStats
  close(): Promise<void>
}

export interface AccessLogOptions {
  readonly sink: LineSink
  readonly nowMs: () => number
  readonly wallMs?: () => number
  /** Names of headers to log as `request-header-NAME` and `response-header-NAME`. */
  readonly requestHeaders: readonly string[]
  readonly responseHeaders: readonly string[]
  /** Names of fields to leave out. */
  readonly omittedFields: readonly string[]
}

/** What is the same in every line about one descriptor's requests; made once. */
export interface ServiceLogPart {
  readonly json: Uint8Array
  readonly redacted: ReadonlySet<string>
  readonly backendProto: string
  /** Parts about instances, by instance id; forgotten when there are too many. */
  readonly instances: Map<string, Uint8Array>
}

/** An instance that got a request. */
export interface LoggedInstance {
  readonly instanceId: string
  readonly host: string
  readonly port: number
}

/** What to remember of a backend's response until the line is written. */
export interface ResponseLogPart {
  readonly json: Uint8Array
  readonly contentLength: number
}

/** What became of a request that was handed to a service. */
export interface ProxiedEnding {
  /** Absent when the client left before any. */
  readonly status: number | undefined
  readonly cid: string
  readonly service: ServiceLogPart
  /** The one that had it last; absent when there was none. */
  readonly instance: LoggedInstance | undefined
  /** Absent when no backend answered. */
  readonly response: ResponseLogPart | undefined
  /** Moments by the monotonic clock; negative when there was none, except of the end. */
  readonly grantedAtMs: number
  readonly answeredAtMs: number
  readonly endedAtMs: number
  readonly retries: number
  /** For example `client-gone`; absent when all went well. */
  readonly problem: string | undefined
  readonly errorClass: string | undefined
  /** As the client was told it; absent when it was not gRPC. */
  readonly grpcStatus: string | undefined
  /** Absent when the token disables authentication. */
  readonly identity: LoggedIdentity | undefined
}

/** What became of a request that Waiter answered itself. */
export interface OwnEnding {
  readonly cid: string
  readonly type: RequestType
  /** Absent when the client left before any. */
  readonly status?: number | undefined
  readonly errorClass?: string | undefined
  readonly grpcStatus?: string | undefined
  readonly identity?: LoggedIdentity | undefined
  readonly meant?: MeantService | undefined
}

/** Which service a request meant that Waiter refused, as far as that is known. */
export interface MeantService {
  /** Knows everything else too. */
  readonly service?: ServiceLogPart | undefined
  /** As the client named it, when no service was found: maybe there is no such token. */
  readonly token?: string | undefined
}

/** Who sent a request; one object for all requests of the same proof. */
export interface LoggedIdentity {
  readonly principal: string
  readonly method: string
}

/**
 * The request log: one JSON line for every request (spec §9.3), in plain ASCII, values escaped, credentials never.
 *
 * On the hot path nothing is allocated: what requests have in common lies ready as bytes.
 */
export class AccessLog {
  readonly #sink: LineSink
  readonly #nowMs: () => number
  readonly #clock: WallClock
  readonly #line: LineWriter = new LineWriter()
  readonly #requestHeaders: readonly (readonly [name: string, key: Uint8Array])[]
  readonly #responseHeaders: readonly string[]
  readonly #omitted: ReadonlySet<string>
  #lastClient = { host: '', address: '', port: -1, json: NOTHING }
  #lastKind = { method: '', version: '', type: '', isSecure: false, count: -1, json: NOTHING }
  #lastIdentity: { readonly identity: LoggedIdentity | undefined; readonly json: Uint8Array } = {
    identity: undefined,
    json: NOTHING,
  }
  #lastResponse: ResponseKind = { server: undefined, contentType: undefined, count: -1, json: NOTHING }

  constructor(options: AccessLogOptions) {
    this.#sink = options.sink
    this.#nowMs = options.nowMs
    this.#clock = new WallClock(options.nowMs, options.wallMs)
    this.#requestHeaders = withoutSecrets(options.requestHeaders).map(name => [name, key(`request-header-${name}`)])
    this.#responseHeaders = withoutSecrets(options.responseHeaders)
    this.#omitted = new Set(options.omittedFields)
  }

  stats(): LogFileStats {
    return this.#sink.stats()
  }

  close(): Promise<void> {
    return this.#sink.close()
  }

  /** The part of all lines about a descriptor. */
  servicePart(descriptor: Descriptor): ServiceLogPart {
    const { effective, serviceId, tokens } = descriptor
    const redacted = new Set(this.#omitted)
    for (const name of (effective.env[REDACTION_VARIABLE] ?? '').split(','))
      if (name.trim() !== '') redacted.add(name.trim())
    const token = tokens.map(source => source.token).join(',')
    const json =
      field('metric-group', effective['metric-group']) +
      field('run-as-user', effective['run-as-user']) +
      field('service-id', serviceId) +
      field('service-name', effective.name) +
      field('service-version', effective.version) +
      field('service-image', effective.image) +
      field('service-profile', effective.profile) +
      field('token', token === '' ? undefined : token)
    return { json: ready(json), redacted, backendProto: effective['backend-proto'], instances: new Map() }
  }

  /** What to keep of a backend's response head. */
  responsePart(get: HeaderGetter, fieldCount: number): ResponseLogPart {
    const length = get('content-length')
    const kind = this.#kindOfResponse(get('server'), get('content-type'), fieldCount)
    let rest = wireField('response-location', get('location'))
    for (const name of this.#responseHeaders) rest += wireField(`response-header-${name}`, get(name))
    const json = rest === '' ? kind : Buffer.concat([kind, ready(rest)])
    return { json, contentLength: length !== undefined && DIGITS.test(length) ? Number(length) : -1 }
  }

  /** A request to a service is over. */
  proxied(exchange: Exchange, ending: ProxiedEnding, type: RequestType = 'waiter-proxy'): void {
    const line = this.#line
    const { status, grantedAtMs, answeredAtMs, service, instance, response, errorClass } = ending
    const { arrivedAtMs } = exchange
    this.#request(exchange, ending.cid, type)
    if (instance !== undefined) line.raw(instancePart(service, instance))
    if (response !== undefined) {
      line.raw(response.json)
      this.#number(KEY.responseLength, response.contentLength)
    }
    this.#number(KEY.status, status ?? -1)
    if (grantedAtMs >= 0) this.#number(KEY.getInstanceNs, toNs(grantedAtMs - arrivedAtMs))
    if (answeredAtMs >= 0) this.#number(KEY.backendNs, toNs(answeredAtMs - grantedAtMs))
    if (ending.retries > 0) this.#number(KEY.retries, ending.retries)
    if (ending.problem !== undefined) this.#text(KEY.outcome, ending.problem)
    if (errorClass !== undefined) this.#text(KEY.errorClass, errorClass)
    if (ending.grpcStatus !== undefined) this.#wire(KEY.grpcStatus, ending.grpcStatus)
    line.raw(service.json)
    line.raw(this.#identityPart(ending.identity))
    this.#end(ending.endedAtMs - arrivedAtMs, service.redacted)
  }

  /** A request that Waiter answered itself; without a status when the client left before. */
  own(exchange: Exchange, ending: OwnEnding): void {
    const { status, type, errorClass, meant } = ending
    this.#request(exchange, ending.cid, type)
    if (status === undefined) this.#text(KEY.outcome, 'client-gone')
    else this.#number(KEY.status, status)
    if (errorClass !== undefined) this.#text(KEY.errorClass, errorClass)
    this.#wire(KEY.grpcStatus, ending.grpcStatus)
    this.#line.raw(ready(`,"waiter-api":${type !== 'waiter-proxy'}`))
    if (meant?.service === undefined) this.#wire(KEY.token, meant?.token)
    else this.#line.raw(meant.service.json)
    this.#line.raw(this.#identityPart(ending.identity))
    this.#end(this.#nowMs() - exchange.arrivedAtMs, meant?.service?.redacted ?? this.#omitted)
  }

  /** Bytes that were no acceptable request: there is little to tell. */
  refused(refusal: Refusal): void {
    const line = this.#line
    line.begin()
    line.raw(ready('{"request-type":"refused"'))
    this.#number(KEY.status, refusal.status)
    this.#text(KEY.outcome, refusal.message)
    this.#text(KEY.remoteAddress, refusal.remoteAddress)
    this.#number(KEY.serverPort, refusal.localPort)
    line.raw(REFUSED_TIME)
    line.raw(this.#clock.iso(this.#nowMs()))
    line.raw(QUOTE)
    this.#end(0, this.#omitted)
  }

  #request(exchange: Exchange, cid: string, type: RequestType): void {
    const line = this.#line
    const { head } = exchange
    line.begin()
    line.raw(KEY.cid)
    line.text(cid)
    line.raw(KEY.requestId)
    line.text(cid)
    // Behind the id: the quote of its end makes way.
    line.length -= 1
    line.raw(exchange.isSecure ? KEY.secureRequestTime : KEY.requestTime)
    line.raw(this.#clock.iso(exchange.arrivedAtMs))
    line.raw(QUOTE)
    line.raw(this.#clientOf(exchange))
    line.raw(this.#kindOf(exchange, type))
    this.#wire(KEY.path, head.path)
    if (head.query !== null) this.#wire(KEY.query, head.query)
    this.#wire(KEY.userAgent, head.get('user-agent'))
    this.#wire(KEY.origin, head.get('origin'))
    this.#wire(KEY.referer, head.get('referer'))
    this.#number(KEY.cookieLength, head.get('cookie')?.length ?? -1)
    if (head.bodyKind !== 'none') {
      this.#wire(KEY.requestType, head.get('content-type'))
      this.#number(KEY.requestLength, head.contentLength)
    }
    for (const [name, headerKey] of this.#requestHeaders) this.#wire(headerKey, head.get(name))
  }

  #end(tookMs: number, redacted: ReadonlySet<string>): void {
    const line = this.#line
    this.#number(KEY.handleNs, toNs(tookMs))
    line.raw(CLOSE)
    line.end()
    if (redacted.size === 0) {
      this.#sink.append(line.bytes, line.length)
      return
    }
    const kept = redact(line.bytes.toString('latin1', 0, line.length), redacted)
    this.#sink.append(kept, kept.length)
  }

  /** The part that most requests share with the one before; so do the next two. */
  #clientOf({ head, remoteAddress, localPort }: Exchange): Uint8Array {
    const last = this.#lastClient
    if (last.host === head.authority && last.address === remoteAddress && last.port === localPort) return last.json
    const text = wireField('host', head.authority) + field('remote-addr', remoteAddress)
    const json = ready(`${text},"server-port":${localPort}`)
    this.#lastClient = { host: head.authority, address: remoteAddress, port: localPort, json }
    return json
  }

  #identityPart(identity: LoggedIdentity | undefined): Uint8Array {
    if (identity === undefined) return NOTHING
    const last = this.#lastIdentity
    if (last.identity === identity) return last.json
    const json = ready(field('authentication-method', identity.method) + field('principal', identity.principal))
    this.#lastIdentity = { identity, json }
    return json
  }

  #kindOf({ head, isSecure }: Exchange, type: RequestType): Uint8Array {
    const { method, httpVersion, fieldCount } = head
    const last = this.#lastKind
    const isSame = last.method === method && last.version === httpVersion && last.isSecure === isSecure
    if (isSame && last.type === type && last.count === fieldCount) return last.json
    const protocol = PROTOCOLS[httpVersion]
    const json = ready(
      wireField('method', method) +
        field('scheme', isSecure ? 'https' : 'http') +
        field('request-type', type) +
        field('client-protocol', protocol) +
        field('internal-protocol', protocol) +
        `,"request-header-count":${fieldCount}`,
    )
    this.#lastKind = { method, version: httpVersion, type, isSecure, count: fieldCount, json }
    return json
  }

  #kindOfResponse(server: string | undefined, contentType: string | undefined, count: number): Uint8Array {
    const last = this.#lastResponse
    if (last.server === server && last.contentType === contentType && last.count === count) return last.json
    const json = ready(
      `,"response-header-count":${count}${wireField('server', server)}${wireField('response-content-type', contentType)}`,
    )
    this.#lastResponse = { server, contentType, count, json }
    return json
  }

  /** Nothing when it is negative: not known. */
  #number(name: Uint8Array, value: number): void {
    if (value < 0) return
    this.#line.raw(name)
    this.#line.int(value)
  }

  #text(name: Uint8Array, value: string): void {
    this.#line.raw(name)
    this.#line.text(value)
  }

  #wire(name: Uint8Array, value: string | undefined): void {
    if (value === undefined) return
    this.#line.raw(name)
    this.#line.wire(value)
  }
}

interface ResponseKind {
  readonly server: string | undefined
  readonly contentType: string | undefined
  readonly count: number
  readonly json: Uint8Array
}

/** Names of fields as they stand in a line. */
const KEY = {
  cid: ready('{"cid":'),
  requestId: ready(',"request-id":'),
  requestTime: ready('-http","request-time":"'),
  secureRequestTime: ready('-https","request-time":"'),
  path: key('path'),
  query: key('query-string'),
  userAgent: key('user-agent'),
  origin: key('origin'),
  referer: key('referer'),
  cookieLength: key('cookie-header-length'),
  requestType: key('request-content-type'),
  requestLength: key('request-content-length'),
  responseLength: key('response-content-length'),
  status: key('status'),
  getInstanceNs: key('get-instance-latency-ns'),
  backendNs: key('backend-response-latency-ns'),
  handleNs: key('handle-request-latency-ns'),
  retries: key('retries'),
  outcome: key('outcome'),
  errorClass: key('waiter-error-class'),
  grpcStatus: key('grpc-status'),
  token: key('token'),
  remoteAddress: key('remote-addr'),
  serverPort: key('server-port'),
}
const REFUSED_TIME = ready(',"request-time":"')
const QUOTE = ready('"')
const CLOSE = ready('}')

function key(name: string): Uint8Array {
  return ready(`,${toAsciiJson(name)}:`)
}

/** The part about the instance that got the request. */
function instancePart(service: ServiceLogPart, { instanceId, host, port }: LoggedInstance): Uint8Array {
  const known = service.instances.get(instanceId)
  if (known !== undefined) return known
  const { backendProto } = service
  const json = ready(
    field('instance-host', host) +
      field('instance-id', instanceId) +
      `,"instance-port":${port}` +
      field('instance-proto', backendProto) +
      field('backend-protocol', backendProto.startsWith('h2') ? 'HTTP/2.0' : 'HTTP/1.1'),
  )
  if (service.instances.size >= INSTANCES_REMEMBERED_MAX) service.instances.clear()
  service.instances.set(instanceId, json)
  return json
}

/** Slow, and only for those who asked for it. */
function redact(line: string, names: ReadonlySet<string>): Buffer {
  const kept = Object.entries(JSON.parse(line) as Record<string, unknown>).filter(([name]) => !names.has(name))
  const fields = kept.map(
    ([name, value]) => `${toAsciiJson(name)}:${typeof value === 'string' ? toAsciiJson(value) : value}`,
  )
  return Buffer.from(`{${fields.join(',')}}\n`, 'latin1')
}

/** A field of ours; nothing when there is no value. */
function field(name: string, value: string | undefined): string {
  return value === undefined ? '' : `,${toAsciiJson(name)}:${toAsciiJson(value)}`
}

/** A field that came from the wire; bounded like all of them. */
function wireField(name: string, value: string | undefined): string {
  return value === undefined ? '' : `,${toAsciiJson(name)}:${wireToAsciiJson(value)}`
}

function toNs(ms: number): number {
  return Math.round(ms * NS_PER_MS)
}

function withoutSecrets(names: readonly string[]): readonly string[] {
  return names.map(name => name.toLowerCase()).filter(name => !SECRET_HEADERS.has(name))
}
