import { FieldKind } from './field-name.ts'
import type { HeaderField } from './header-field.ts'
import { Http2RequestHead } from './request-head.ts'

/** A response head's meaning. */
export interface Http2ResponseHead {
  readonly status: number
  /** Announced by content-length, or -1. */
  readonly contentLength: number
  /** Every field, `:status` first. */
  readonly fields: readonly HeaderField[]
  /** The head is the whole message. */
  readonly isEnd: boolean
}

/** A head that is not served: malformed (status 0: the stream is reset) or answered with `status`. */
export interface HeadFault {
  readonly status: number
  readonly detail: string
}

/** What the rules depend on besides the fields. */
export interface RequestRules {
  readonly targetBytesMax: number
  /** Whether we announced RFC 8441. */
  readonly allowsConnectProtocol: boolean
  /** HEADERS carried END_STREAM. */
  readonly isEnd: boolean
}

/** Reads a request head by RFC 9113 §8.2 and §8.3; everything malformed is refused, nothing is repaired. */
export function readRequestHead(fields: readonly HeaderField[], rules: RequestRules): Http2RequestHead | HeadFault {
  const head = new Http2RequestHead(fields)
  let hasRegular = false
  let host = ''
  let contentLength = -1
  let expect = ''
  for (const field of fields) {
    if (field.fault !== '') return malformed(field.fault)
    const { kind } = field.about
    if (isPseudoKind(kind)) {
      if (hasRegular) return malformed('pseudo-header field behind a regular field')
      const detail = takePseudo(head, field, kind)
      if (detail !== '') return malformed(detail)
      continue
    }
    hasRegular = true
    if (kind === FieldKind.HOST) {
      if (host !== '') return malformed('more than one host field')
      host = field.value
    } else if (kind === FieldKind.CONTENT_LENGTH) {
      if (contentLength >= 0) return malformed('more than one content-length')
      contentLength = Number(field.value)
    } else if (kind === FieldKind.EXPECT) {
      expect = field.value
    }
  }
  if (rules.isEnd && contentLength > 0) return malformed('content-length without a body')
  setBody(head, contentLength, rules.isEnd)
  return settle(head, host, expect, rules)
}

/** Reads a response head; a string is what makes it malformed. */
export function readResponseHead(fields: readonly HeaderField[], isEnd: boolean): Http2ResponseHead | string {
  let status = 0
  let contentLength = -1
  let hasRegular = false
  for (const field of fields) {
    if (field.fault !== '') return field.fault
    const { kind } = field.about
    if (kind === FieldKind.STATUS) {
      if (hasRegular) return 'pseudo-header field behind a regular field'
      if (status !== 0) return 'more than one :status'
      status = Number(field.value)
      continue
    }
    if (isPseudoKind(kind)) return 'pseudo-header field of a request in a response'
    hasRegular = true
    if (kind !== FieldKind.CONTENT_LENGTH) continue
    if (contentLength >= 0) return 'more than one content-length'
    contentLength = Number(field.value)
  }
  if (status === 0) return 'response without :status'
  if (status === 101) return 'status 101 does not exist in HTTP/2'
  return { status, contentLength, fields, isEnd }
}

/** What makes trailers malformed, or empty. Framing fields say nothing there any more, so they may not appear. */
export function findTrailersFault(fields: readonly HeaderField[]): string {
  for (const field of fields) {
    if (field.fault !== '') return field.fault
    const { kind } = field.about
    if (isPseudoKind(kind)) return 'pseudo-header field in trailers'
    if (kind === FieldKind.CONTENT_LENGTH || kind === FieldKind.HOST) return `${field.name} in trailers`
  }
  return ''
}

function isPseudoKind(kind: number): boolean {
  return kind >= FieldKind.METHOD && kind <= FieldKind.UNKNOWN_PSEUDO
}

function takePseudo(head: Http2RequestHead, field: HeaderField, kind: number): string {
  const { value } = field
  switch (kind) {
    case FieldKind.METHOD:
      if (head.method !== '') return 'more than one :method'
      head.method = value
      return ''
    case FieldKind.SCHEME:
      if (head.scheme !== '') return 'more than one :scheme'
      head.scheme = value
      return ''
    case FieldKind.PATH:
      if (head.target !== '') return 'more than one :path'
      head.target = value
      return ''
    case FieldKind.AUTHORITY:
      if (head.authority !== '') return 'more than one :authority'
      head.authority = value
      return ''
    case FieldKind.PROTOCOL:
      if (head.protocol !== '') return 'more than one :protocol'
      head.protocol = value
      return ''
    default:
      return 'pseudo-header field of a response in a request'
  }
}

function setBody(head: Http2RequestHead, contentLength: number, isEnd: boolean): void {
  if (isEnd) return
  head.bodyKind = contentLength >= 0 ? 'length' : 'chunked'
  head.contentLength = contentLength
}

function settle(
  head: Http2RequestHead,
  host: string,
  expect: string,
  rules: RequestRules,
): Http2RequestHead | HeadFault {
  if (head.method === '') return malformed('request without :method')
  if (head.method === 'CONNECT' && head.protocol === '') return readConnect(head)
  if (head.protocol !== '' && !(head.method === 'CONNECT' && rules.allowsConnectProtocol)) {
    return malformed(':protocol without an extended CONNECT that was allowed')
  }
  if (head.scheme === '') return malformed('request without :scheme')
  if (head.target === '') return malformed('request without :path')
  if (head.authority === '') head.authority = host
  else if (host !== '' && host.toLowerCase() !== head.authority.toLowerCase()) {
    return malformed(':authority and host name different hosts')
  }
  if (head.authority === '') return malformed('request without :authority or host')
  const isAsterisk = head.target === '*' && head.method === 'OPTIONS'
  if (head.target.charCodeAt(0) !== 0x2f && !isAsterisk) return malformed(':path does not begin with /')
  if (head.target.length > rules.targetBytesMax) return { status: 414, detail: ':path is too long' }
  if (expect !== '' && expect.toLowerCase() !== '100-continue') {
    return { status: 417, detail: 'only 100-continue can be expected' }
  }
  head.expectsContinue = expect !== '' && !rules.isEnd
  return head
}

function readConnect(head: Http2RequestHead): HeadFault {
  if (head.scheme !== '' || head.target !== '') return malformed('CONNECT with :scheme or :path')
  if (head.authority === '') return malformed('CONNECT without :authority')
  return { status: 405, detail: 'CONNECT is not allowed' }
}

function malformed(detail: string): HeadFault {
  return { status: 0, detail }
}
