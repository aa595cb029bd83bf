import type { RequestHead } from '../exchange.ts'
import { FieldCode } from './field-table.ts'
import { equalsLower, hostLengthOf, listMembers, parseContentLength } from './field-values.ts'
import { type ConnectionOptions, findField, markNominated, readConnectionOptions } from './head-fields.ts'
import type { HeadScanner } from './head-scanner.ts'

/** A head that is well-formed as text but may not be served. */
export interface HeadRefusal {
  readonly status: number
  readonly message: string
}

/**
 * A request head over the scanner's offsets. When the scanner has moved on to the next head, look-ups go on from a copy
 * made of the text, so a head may be kept for ever.
 */
export class H1RequestHead implements RequestHead {
  readonly text: string
  readonly method: string
  readonly target: string
  path = '/'
  query: string | null = null
  host = ''
  authority = ''
  bodyKind: 'none' | 'length' | 'chunked' = 'none'
  contentLength = 0
  isUpgrade = false
  upgradeProtocols = ''
  expectsContinue = false
  /** The owner's policy drops Expect: the engine itself must send 100. */
  mustContinueSelf = false
  /** The client wants the connection kept. */
  keepAlive: boolean
  /** Content-Length must be rendered anew because its text is not canonical. */
  rendersLength = false
  readonly minorVersion: number
  readonly #scanner: HeadScanner
  readonly #generation: number
  #detached: [string, string][] | null = null

  constructor(text: string, scanner: HeadScanner) {
    this.text = text
    this.#scanner = scanner
    this.#generation = scanner.generation
    this.method = text.slice(scanner.startOffset, scanner.methodEnd)
    this.target = text.slice(scanner.methodEnd + 1, scanner.targetEnd)
    this.minorVersion = scanner.minorVersion
    this.keepAlive = scanner.minorVersion === 1
  }

  get httpVersion(): '1.0' | '1.1' {
    return this.minorVersion === 1 ? '1.1' : '1.0'
  }

  get fieldCount(): number {
    return this.#scanner.generation === this.#generation ? this.#scanner.fieldCount : this.#detach().length
  }

  get(lowerName: string): string | undefined {
    if (this.#scanner.generation === this.#generation) return findField(this.text, this.#scanner, lowerName)
    let value: string | undefined
    for (const [name, found] of this.#detach()) {
      if (name.toLowerCase() !== lowerName) continue
      value = value === undefined ? found : value + (lowerName === 'cookie' ? '; ' : ', ') + found
    }
    return value
  }

  has(lowerName: string): boolean {
    return this.get(lowerName) !== undefined
  }

  forEach(callback: (name: string, value: string) => void, lowerPrefix = ''): void {
    const { text } = this
    if (this.#scanner.generation !== this.#generation) {
      for (const [name, value] of this.#detach()) callback(name, value)
      return
    }
    const { fields, fieldCount } = this.#scanner
    for (let i = 0; i < fieldCount; i++) {
      const at = i * 4
      const start = fields[at]!
      const prefixEnd = start + lowerPrefix.length
      if (prefixEnd > fields[at + 1]! || !equalsLower(text, start, prefixEnd, lowerPrefix)) continue
      callback(text.slice(start, fields[at + 1]!), text.slice(fields[at + 2]!, fields[at + 3]!))
    }
  }

  #detach(): [string, string][] {
    if (this.#detached !== null) return this.#detached
    const lines = this.text.slice(0, -4).split('\r\n')
    const firstField = lines[0] === '' ? 2 : 1
    this.#detached = lines.slice(firstField).map(line => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')]
    })
    return this.#detached
  }
}

/** Interprets a scanned head by the rules of RFC 9112 §3 and §6, strictly: what is ambiguous is refused. */
export function readRequestHead(bytes: Buffer, base: number, scanner: HeadScanner): H1RequestHead | HeadRefusal {
  const head = new H1RequestHead(bytes.toString('latin1', base, base + scanner.headEnd), scanner)
  const connection: ConnectionOptions = { close: false, keepAlive: false, upgrade: false, nominated: null }
  const refusal = readFields(head, scanner, connection) ?? readTarget(head)
  if (refusal !== null) return refusal
  if (head.authority === '' && head.minorVersion === 1) return refuse('an HTTP/1.1 request must have a Host field')
  if (connection.close) head.keepAlive = false
  else if (connection.keepAlive) head.keepAlive = true
  if (connection.nominated !== null) {
    markNominated(head.text, scanner, connection.nominated, FieldCode.EXPECT, FieldCode.DROP)
  }
  // h2c by upgrade is obsolete and a known smuggling vector: answered as an ordinary request instead.
  head.isUpgrade =
    connection.upgrade &&
    head.upgradeProtocols !== '' &&
    head.minorVersion === 1 &&
    head.bodyKind !== 'chunked' &&
    head.contentLength === 0 &&
    !listMembers(head.upgradeProtocols).includes('h2c')
  if (head.minorVersion === 0) head.expectsContinue = false
  return head
}

function readFields(head: H1RequestHead, scanner: HeadScanner, connection: ConnectionOptions): HeadRefusal | null {
  const { fields, codes, fieldCount } = scanner
  for (let i = 0; i < fieldCount; i++) {
    const code = codes[i]!
    if (code === FieldCode.OTHER || code === FieldCode.DROP || code >= FieldCode.REWRITE) continue
    const start = fields[i * 4 + 2]!
    const end = fields[i * 4 + 3]!
    let refusal: HeadRefusal | null = null
    switch (code) {
      case FieldCode.HOST:
        refusal = readHost(head, start, end)
        break
      case FieldCode.CONTENT_LENGTH:
        refusal = readContentLength(head, start, end)
        break
      case FieldCode.TRANSFER_ENCODING:
        refusal = readTransferEncoding(head, start, end)
        break
      case FieldCode.CONNECTION:
        readConnectionOptions(head.text, start, end, connection)
        break
      case FieldCode.UPGRADE:
        head.upgradeProtocols += `${head.upgradeProtocols === '' ? '' : ', '}${head.text.slice(start, end)}`
        break
      default:
        refusal = readExpect(head, scanner, i)
    }
    if (refusal !== null) return refusal
  }
  return null
}

function readHost(head: H1RequestHead, start: number, end: number): HeadRefusal | null {
  if (head.authority !== '') return refuse('more than one Host field')
  head.authority = head.text.slice(start, end)
  const hostLength = hostLengthOf(head.authority)
  if (hostLength < 0) return refuse('the Host field is not a valid host and port')
  head.host = (
    hostLength === head.authority.length ? head.authority : head.authority.slice(0, hostLength)
  ).toLowerCase()
  return null
}

function readContentLength(head: H1RequestHead, start: number, end: number): HeadRefusal | null {
  if (head.bodyKind === 'chunked') return refuse('both Content-Length and Transfer-Encoding')
  if (head.bodyKind === 'length') return refuse('more than one Content-Length')
  const length = parseContentLength(head.text, start, end)
  if (length < 0) return refuse('Content-Length is not a plain decimal number of at most 15 digits')
  head.bodyKind = 'length'
  head.contentLength = length
  head.rendersLength = end - start > 1 && head.text.charCodeAt(start) === 0x30
  return null
}

function readTransferEncoding(head: H1RequestHead, start: number, end: number): HeadRefusal | null {
  if (head.bodyKind === 'length') return refuse('both Content-Length and Transfer-Encoding')
  if (head.bodyKind === 'chunked') return refuse('more than one Transfer-Encoding')
  if (head.minorVersion === 0) return refuse('Transfer-Encoding in an HTTP/1.0 request')
  if (!equalsLower(head.text, start, end, 'chunked')) return refuse('Transfer-Encoding is not exactly "chunked"')
  head.bodyKind = 'chunked'
  head.contentLength = -1
  return null
}

function readExpect(head: H1RequestHead, scanner: HeadScanner, index: number): HeadRefusal | null {
  const start = scanner.fields[index * 4 + 2]!
  const end = scanner.fields[index * 4 + 3]!
  if (head.expectsContinue || !equalsLower(head.text, start, end, '100-continue')) {
    return { status: 417, message: 'only "Expect: 100-continue" can be met' }
  }
  head.expectsContinue = true
  head.mustContinueSelf = scanner.codes[index] === FieldCode.EXPECT_DROP
  if (head.minorVersion === 0) scanner.codes[index] = FieldCode.DROP
  return null
}

function readTarget(head: H1RequestHead): HeadRefusal | null {
  const target = head.target
  if (head.method === 'CONNECT') return { status: 405, message: 'CONNECT is not served here' }
  if (target.charCodeAt(0) === 0x2f) return splitPath(head, target)
  if (target === '*') {
    if (head.method !== 'OPTIONS') return refuse('the target "*" is for OPTIONS only')
    head.path = '*'
    return null
  }
  const match = /^https?:\/\/([^/?]*)(.*)$/i.exec(target)
  if (match === null) return refuse('the target is neither a path nor an http URL')
  const authority = match[1]!
  if (hostLengthOf(authority) < 0) return refuse('the target has no valid host')
  if (head.authority !== '' && authority.toLowerCase() !== head.authority.toLowerCase()) {
    return refuse('the target and the Host field name different hosts')
  }
  if (head.authority === '' && head.minorVersion === 0) {
    head.authority = authority
    head.host = authority.slice(0, hostLengthOf(authority)).toLowerCase()
  }
  const rest = match[2]!
  return splitPath(head, rest.charCodeAt(0) === 0x2f ? rest : `/${rest}`)
}

function splitPath(head: H1RequestHead, path: string): null {
  const question = path.indexOf('?')
  if (question < 0) {
    head.path = path
  } else {
    head.path = path.slice(0, question)
    head.query = path.slice(question + 1)
  }
  return null
}

function refuse(message: string): HeadRefusal {
  return { status: 400, message }
}
