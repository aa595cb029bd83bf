import { IS_HOST, IS_IPV6, IS_TARGET, IS_TOKEN, IS_VALUE } from '../h1/char-tables.ts'
import { FieldKind, type FieldName, fieldNameOf, Indexing } from './field-name.ts'

/** What each field costs beyond its octets (RFC 7541 §4.1). */
const FIELD_OVERHEAD_BYTES = 32
/** More digits could not be counted exactly. */
const CONTENT_LENGTH_DIGITS_MAX = 15

/**
 * One field, immutable. Its rules are checked once, when it is made: a field that a peer refers to by index a thousand
 * times is the same object a thousand times.
 */
export class HeaderField {
  /** As on the wire: lower-case, `:`-prefixed for pseudo-header fields. */
  readonly name: string
  /** Latin-1, one character per octet. */
  readonly value: string
  readonly about: FieldName
  /** Must be sent as "never indexed" (RFC 7541 §6.2.3). */
  readonly isSensitive: boolean
  /** Octets with the overhead that tables and list limits count. */
  readonly size: number
  /** What is wrong with it, or empty. */
  readonly fault: string

  constructor(name: string, value: string, isSensitive = false) {
    this.name = name
    this.value = value
    this.about = fieldNameOf(name)
    this.isSensitive = isSensitive || this.about.indexing === Indexing.NEVER
    this.size = name.length + value.length + FIELD_OVERHEAD_BYTES
    this.fault = computeFault(name, value, this.about.kind)
  }
}

function computeFault(name: string, value: string, kind: number): string {
  if (kind === FieldKind.REGULAR || kind === FieldKind.COOKIE) return computeNameFault(name) || computeValueFault(value)
  switch (kind) {
    case FieldKind.FORBIDDEN:
      return `the field ${name} belongs to HTTP/1.1 connections`
    case FieldKind.UNKNOWN_PSEUDO:
      return 'unknown pseudo-header field'
    case FieldKind.METHOD:
    case FieldKind.PROTOCOL:
      return value !== '' && isAll(value, IS_TOKEN) ? '' : `${name} is no token`
    case FieldKind.SCHEME:
      return value === 'http' || value === 'https' ? '' : ':scheme is neither http nor https'
    case FieldKind.PATH:
      return value !== '' && isAll(value, IS_TARGET) ? '' : ':path is empty or has characters no target may have'
    case FieldKind.AUTHORITY:
    case FieldKind.HOST:
      return isAuthority(value) ? '' : `${name} is no valid authority`
    case FieldKind.STATUS:
      return /^[1-5][0-9][0-9]$/.test(value) ? '' : ':status is no status code'
    case FieldKind.TE:
      return value.toLowerCase() === 'trailers' ? '' : 'te may only say trailers'
    case FieldKind.CONTENT_LENGTH:
      return isContentLength(value) ? '' : 'content-length is no number'
    default:
      return computeValueFault(value)
  }
}

function computeNameFault(name: string): string {
  if (name === '') return 'empty field name'
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i)
    if (code >= 0x41 && code <= 0x5a) return 'upper-case field name'
    if (code > 0xff || IS_TOKEN[code] === 0) return 'invalid field name'
  }
  return ''
}

function computeValueFault(value: string): string {
  const { length } = value
  if (length === 0) return ''
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i)
    if (code > 0xff || IS_VALUE[code] === 0) return 'invalid character in a field value'
  }
  if (isBlank(value.charCodeAt(0)) || isBlank(value.charCodeAt(length - 1))) return 'blank around a field value'
  return ''
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}

function isAll(text: string, table: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 0xff || table[code] === 0) return false
  }
  return true
}

function isContentLength(value: string): boolean {
  if (value.length === 0 || value.length > CONTENT_LENGTH_DIGITS_MAX) return false
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i)
    if (code < 0x30 || code > 0x39) return false
  }
  return true
}

/** `host[:port]`; user information is refused (RFC 9113 §8.3.1). */
function isAuthority(value: string): boolean {
  if (value.startsWith('[')) {
    const close = value.indexOf(']')
    return close > 1 && isAll(value.slice(1, close), IS_IPV6) && isPort(value.slice(close + 1))
  }
  const colon = value.indexOf(':')
  const host = colon === -1 ? value : value.slice(0, colon)
  return host !== '' && isAll(host, IS_HOST) && isPort(colon === -1 ? '' : value.slice(colon))
}

function isPort(text: string): boolean {
  return text === '' || /^:[0-9]{0,5}$/.test(text)
}
