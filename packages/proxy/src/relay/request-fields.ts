import type { ForwardTarget, RequestHead } from '../exchange.ts'
import type { BodyDecoder } from '../h1/body-decoder.ts'
import type { CompiledPolicy } from '../h1/compiled-policy.ts'
import { FieldCode, type FieldTable } from '../h1/field-table.ts'
import type { HeadScanner } from '../h1/head-scanner.ts'
import type { H1RequestHead } from '../h1/request-head.ts'
import { FieldKind } from '../h2/field-name.ts'
import { HeaderField, Http2RequestHead } from '../h2/index.ts'
import { isValidHeaderValue } from '../header-lines.ts'
import { collectTrailers, pushLines } from './fields.ts'

/** What a request looks like on its way to a backend besides its head. */
export interface OutgoingRequest {
  readonly head: H1RequestHead | Http2RequestHead
  /** Of an HTTP/1.1 head: where its fields are. */
  readonly scanner: HeadScanner | null
  readonly policy: CompiledPolicy
  /** Lines made by `renderHeader`. */
  readonly extraRequestHead: string
  /** Path and query instead of the client's. */
  readonly target?: string | undefined
  /** Of a head that came over HTTP/2. */
  readonly changedField?: ForwardTarget['changedRequestField']
  /** For a request that names no host (HTTP/1.0). */
  readonly defaultAuthority: string
}

const SCHEME_HTTP = new HeaderField(':scheme', 'http')
const SCHEME_HTTPS = new HeaderField(':scheme', 'https')
const METHODS: ReadonlyMap<string, HeaderField> = new Map(
  ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'CONNECT'].map(method => [
    method,
    new HeaderField(':method', method),
  ]),
)
const TE_TRAILERS = new HeaderField('te', 'trailers')
const PROTOCOL_WEBSOCKET = new HeaderField(':protocol', 'websocket')
/** Methods whose requests say that they have no body (RFC 9110 §8.6). */
const BODY_METHODS = new Set(['POST', 'PUT', 'PATCH'])
/** They belong to the handshake of one HTTP/1.1 connection (RFC 8441 §5). */
const HANDSHAKE_FIELDS = new Set(['sec-websocket-key', 'sec-websocket-accept'])

/** A content type of gRPC, with or without `+proto` and parameters. */
export function isGrpcContentType(contentType: string | undefined): boolean {
  return contentType !== undefined && /^application\/grpc(?:$|[+;\s])/i.test(contentType)
}

/** True for a request to become a WebSocket, whichever protocol it came by. */
export function isWebSocket(head: RequestHead | Http2RequestHead): boolean {
  if (!head.isUpgrade) return false
  if (head instanceof Http2RequestHead) return head.protocol.toLowerCase() === 'websocket'
  return head.get('upgrade')?.toLowerCase() === 'websocket'
}

/**
 * The fields of a request for an HTTP/2 backend.
 *
 * @param asConnect as an extended CONNECT (RFC 8441)
 */
export function renderHttp2Request(request: OutgoingRequest, isSecure: boolean, asConnect: boolean): HeaderField[] {
  const { head, extraRequestHead, defaultAuthority } = request
  const method = asConnect ? 'CONNECT' : head.method
  const fields: HeaderField[] = [
    METHODS.get(method) ?? new HeaderField(':method', method),
    isSecure ? SCHEME_HTTPS : SCHEME_HTTP,
  ]
  if (asConnect) fields.push(PROTOCOL_WEBSOCKET)
  const fromHttp2 = head instanceof Http2RequestHead
  if (fromHttp2) pushHttp2Target(fields, head, request.target)
  else {
    const ownTarget = head.query === null ? head.path : `${head.path}?${head.query}`
    fields.push(new HeaderField(':path', request.target ?? ownTarget))
    fields.push(new HeaderField(':authority', head.authority === '' ? defaultAuthority : head.authority))
  }
  if (fromHttp2) pushHttp2Fields(fields, head, request)
  else pushHttp1Fields(fields, request as OutgoingRequest & { head: H1RequestHead }, asConnect)
  pushLines(fields, extraRequestHead)
  return fields
}

/** The same objects as came in: their peer's table knows them. */
function pushHttp2Target(fields: HeaderField[], head: Http2RequestHead, target: string | undefined): void {
  let hasAuthority = false
  for (const field of head.fields) {
    const { kind } = field.about
    if (kind === FieldKind.PATH) fields.push(target === undefined ? field : new HeaderField(':path', target))
    else if (kind === FieldKind.AUTHORITY) {
      hasAuthority = true
      fields.push(field)
    }
  }
  if (!hasAuthority) fields.push(new HeaderField(':authority', head.authority))
}

function pushHttp2Fields(
  fields: HeaderField[],
  head: Http2RequestHead,
  { policy, changedField }: Pick<OutgoingRequest, 'policy' | 'changedField'>,
): void {
  const table = policy.requestTable
  let hasTe = false
  for (const field of head.fields) {
    const { kind } = field.about
    if (kind === FieldKind.TE) hasTe = true
    else if (kind === FieldKind.CONTENT_LENGTH) fields.push(field)
    else if (kind === FieldKind.REGULAR || kind === FieldKind.COOKIE || kind === FieldKind.EXPECT) {
      const code = table.codeOfName(field.name)
      if (changedField !== undefined && field.name === changedField.name)
        fields.push(new HeaderField(changedField.name, changedField.value))
      else if (code === FieldCode.OTHER || code === FieldCode.EXPECT) fields.push(field)
      else if (code >= FieldCode.REWRITE) {
        const value = policy.rewriters[code - FieldCode.REWRITE]!(field.value)
        if (value === field.value) fields.push(field)
        else if (value !== null && isValidHeaderValue(value)) fields.push(new HeaderField(field.name, value))
      }
    }
  }
  // A gRPC server wants to hear that trailers arrive; others need not know (spec §1.5).
  if (hasTe && isGrpcContentType(head.get('content-type'))) fields.push(TE_TRAILERS)
}

function pushHttp1Fields(
  fields: HeaderField[],
  request: OutgoingRequest & { head: H1RequestHead },
  asConnect: boolean,
): void {
  const { head, policy } = request
  const scanner = request.scanner!
  for (let i = 0; i < scanner.fieldCount; i++) {
    const code = scanner.codes[i]!
    const at = i * 4
    if (code === FieldCode.CONTENT_LENGTH) {
      if (!asConnect) fields.push(new HeaderField('content-length', String(head.contentLength)))
      continue
    }
    if (code !== FieldCode.OTHER && code !== FieldCode.EXPECT && code < FieldCode.REWRITE) continue
    const name = head.text.slice(scanner.fields[at]!, scanner.fields[at + 1]!).toLowerCase()
    if (asConnect && HANDSHAKE_FIELDS.has(name)) continue
    let value: string | null = head.text.slice(scanner.fields[at + 2]!, scanner.fields[at + 3]!)
    if (code >= FieldCode.REWRITE) value = policy.rewriters[code - FieldCode.REWRITE]!(value)
    if (value !== null && isValidHeaderValue(value)) fields.push(new HeaderField(name, value))
  }
}

/**
 * The head of a request that came over HTTP/2 for an HTTP/1.1 backend.
 *
 * @param webSocketKey what an extended CONNECT becomes an upgrade with, or null
 */
export function renderHttp1Request(request: OutgoingRequest, webSocketKey: string | null): string {
  const head = request.head as Http2RequestHead
  const { policy, extraRequestHead, changedField } = request
  const method = webSocketKey === null ? head.method : 'GET'
  let text = `${method} ${request.target ?? head.target} HTTP/1.1\r\nhost: ${head.authority}\r\n`
  let cookie = ''
  for (const field of head.fields) {
    const { kind } = field.about
    if (kind !== FieldKind.REGULAR && kind !== FieldKind.COOKIE && kind !== FieldKind.EXPECT) continue
    const { name } = field
    const code = policy.requestTable.codeOfName(name)
    let value: string | null = name === changedField?.name ? changedField.value : field.value
    if (code >= FieldCode.REWRITE) {
      value = policy.rewriters[code - FieldCode.REWRITE]!(value)
      if (value === null || !isValidHeaderValue(value)) continue
    } else if (code !== FieldCode.OTHER && code !== FieldCode.EXPECT) continue
    if (webSocketKey !== null && HANDSHAKE_FIELDS.has(name)) continue
    // HTTP/2 clients split cookies so that each compresses by itself; HTTP/1.1 knows one field (RFC 9113 §8.2.3).
    if (kind === FieldKind.COOKIE) cookie += cookie === '' ? value : `; ${value}`
    else text += `${name}: ${value}\r\n`
  }
  if (cookie !== '') text += `cookie: ${cookie}\r\n`
  return `${text}${extraRequestHead}${renderFraming(head, webSocketKey)}\r\n`
}

function renderFraming(head: Http2RequestHead, webSocketKey: string | null): string {
  if (webSocketKey !== null) {
    return `connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ${webSocketKey}\r\n`
  }
  if (head.bodyKind === 'chunked') return 'transfer-encoding: chunked\r\n'
  if (head.bodyKind === 'length') return `content-length: ${head.contentLength}\r\n`
  return BODY_METHODS.has(head.method) ? 'content-length: 0\r\n' : ''
}

/** Trailers of an HTTP/1.1 message as fields, less what the policy drops. */
export function trailerFields(
  decoder: Pick<BodyDecoder, 'forEachTrailer'>,
  table: FieldTable,
): readonly HeaderField[] | null {
  const fields: HeaderField[] = []
  decoder.forEachTrailer((name, value, code) => {
    if (code === FieldCode.OTHER) fields.push(new HeaderField(name.toLowerCase(), value))
  })
  return collectTrailers(fields, table)
}
