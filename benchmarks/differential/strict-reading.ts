import { TOKEN } from './odd-request.ts'

/** A request as RFC 9112 and the rules in packages/proxy/README.md say it is to be understood. */
export interface ReadRequest {
  readonly method: string
  readonly target: string
  readonly version: string
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly framing: 'none' | 'length' | 'chunked'
  readonly body: string
  /** The head is followed by its whole body. */
  readonly isComplete: boolean
}

/** What a strict server makes of a client's bytes. */
export interface Reading {
  readonly requests: readonly ReadRequest[]
  /** The rule that the bytes break first; undefined when they break none. */
  readonly refusal: string | undefined
  /** After the last request the connection must be closed. */
  readonly closes: boolean
  /** The bytes end within a message. */
  readonly isUnfinished: boolean
}

const LIMITS = { method: 32, target: 8192, head: 65_536, fields: 100, trailers: 8192, extensions: 4096 }
const TOKEN_CHARS = "!#$%&'*+.^_`|~0-9A-Za-z-"
const FIELD = new RegExp(`^([${TOKEN_CHARS}]+):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[ \\t]*$`)
const FIELD_BEGINNING = new RegExp(`^(?:[${TOKEN_CHARS}]+(?::[\\t\\x20-\\x7e\\x80-\\xff]*)?)?$`)
const TARGET_CHARS = '[\\x21\\x22\\x24-\\x7e]'
const START = new RegExp(`^([${TOKEN_CHARS}]+) (${TARGET_CHARS}+) (HTTP/1\\.[01])$`)
const START_BEGINNING = new RegExp(`^(?:[${TOKEN_CHARS}]+(?: (?:${TARGET_CHARS}+(?: (.*))?)?)?)?$`)
const AUTHORITY = /^(?:\[[0-9A-Fa-f:.]{2,}\]|[A-Za-z0-9\-._~!$&'()*+,;=%]+)(?::\d{0,5})?$/

/** Thrown inside: the bytes break a rule. */
class Refusal extends Error {}
/** Thrown inside: the bytes end before the message does. */
class Unfinished extends Error {}

/**
 * A second reading of what the proxy reads, on purpose by other means: line by line with patterns, the whole
 * conversation at once, slow, and independent of the parser under test.
 */
export function readStrictly(bytes: Buffer): Reading {
  const text = bytes.toString('latin1')
  const requests: ReadRequest[] = []
  let at = 0
  try {
    while (at < text.length) {
      const head = readHead(text, at)
      const meaning = interpret(head)
      const body = readBody(text, head.end, meaning)
      const { method, target, version, fields } = head
      requests.push({
        method,
        target,
        version,
        fields,
        framing: meaning.framing,
        body: body.payload,
        isComplete: body.refusal === undefined && body.isComplete,
      })
      if (body.refusal !== undefined) throw new Refusal(body.refusal)
      if (!body.isComplete) throw new Unfinished()
      if (meaning.closes) return { requests, refusal: undefined, closes: true, isUnfinished: false }
      at = body.end
    }
    return { requests, refusal: undefined, closes: false, isUnfinished: false }
  } catch (error) {
    if (error instanceof Refusal) return { requests, refusal: error.message, closes: true, isUnfinished: false }
    if (error instanceof Unfinished) return { requests, refusal: undefined, closes: false, isUnfinished: true }
    throw error
  }
}

/** Does the request say which service it is for? Else the router answers by itself, and no proxy would know why. */
export function namesTheService(request: ReadRequest): boolean {
  const waiterFields = request.fields.filter(([name]) => name.startsWith('x-waiter-'))
  return (
    valuesOf(request.fields, 'x-waiter-token').join() === TOKEN && waiterFields.every(([name]) => name !== 'x-waiter-')
  )
}

interface ReadHead {
  readonly method: string
  readonly target: string
  readonly version: string
  readonly fields: readonly (readonly [string, string])[]
  readonly end: number
}

function valuesOf(fields: ReadHead['fields'], name: string): string[] {
  return fields.filter(([one]) => one === name).map(([, value]) => value)
}

/** The line at `at`, without its end; refuses bare CR and LF. `check` judges a line whose end has not come yet. */
function readLine(text: string, at: number, check: (beginning: string) => void): { line: string; next: number } {
  const found = /[\r\n]/g
  found.lastIndex = at
  const match = found.exec(text)
  if (match === null) {
    check(text.slice(at))
    throw new Unfinished()
  }
  const line = text.slice(at, match.index)
  if (match[0] === '\n') {
    check(line)
    throw new Refusal('a bare LF')
  }
  if (match.index + 1 === text.length) {
    check(line)
    throw new Unfinished()
  }
  if (text[match.index + 1] !== '\n') {
    check(line)
    throw new Refusal('a bare CR')
  }
  return { line, next: match.index + 2 }
}

function readHead(text: string, from: number): ReadHead {
  const at = text.startsWith('\r\n', from) ? from + 2 : from
  if (at === text.length) throw new Unfinished()
  const start = readLine(text, at, beginning => checkStart(beginning, false))
  checkStart(start.line, true)
  const [, method, target, version] = START.exec(start.line) as unknown as [string, string, string, string]
  const { fields, end } = readFields(text, start.next, { begin: from, bytesMax: LIMITS.head, rule: 'a head too large' })
  return { method, target, version, fields, end }
}

function checkStart(line: string, isWhole: boolean): void {
  const [method = '', target = ''] = line.split(' ')
  if (new RegExp(`^[${TOKEN_CHARS}]{${LIMITS.method + 1}}`).test(method)) throw new Refusal('a method too long')
  const isMethod = new RegExp(`^[${TOKEN_CHARS}]+$`).test(method)
  if (isMethod && new RegExp(`^${TARGET_CHARS}{${LIMITS.target + 1}}`).test(target))
    throw new Refusal('a target too long')
  if (isWhole ? START.test(line) : isBeginningOfStart(line)) return
  if (START.test(line.replace(/HTTP\/1\.[2-9]$/, 'HTTP/1.1'))) throw new Refusal('an HTTP version that nobody speaks')
  throw new Refusal('a malformed request line')
}

function isBeginningOfStart(line: string): boolean {
  const version = START_BEGINNING.exec(line)
  if (version === null) return false
  return version[1] === undefined || 'HTTP/1.1'.startsWith(version[1]) || 'HTTP/1.0'.startsWith(version[1])
}

function readFields(
  text: string,
  from: number,
  limit: { begin: number; bytesMax: number; rule: string },
): { fields: (readonly [string, string])[]; end: number } {
  const fields: (readonly [string, string])[] = []
  let at = from
  const isTooLong = (end: number): boolean => end - limit.begin > limit.bytesMax
  const checkBeginning = (beginning: string): void => {
    if (isTooLong(at + beginning.length + 1)) throw new Refusal(limit.rule)
    checkField(beginning, false, fields.length)
  }
  for (;;) {
    const { line, next } = readLine(text, at, checkBeginning)
    if (isTooLong(next)) throw new Refusal(limit.rule)
    if (line === '') return { fields, end: next }
    checkField(line, true, fields.length)
    const [, name, value] = FIELD.exec(line) as unknown as [string, string, string]
    fields.push([name.toLowerCase(), value])
    at = next
  }
}

function checkField(line: string, isWhole: boolean, count: number): void {
  if (line === '') return
  if (/^[ \t]/.test(line)) throw new Refusal('a folded or indented line')
  if (count === LIMITS.fields) throw new Refusal('too many fields')
  if ((isWhole ? FIELD : FIELD_BEGINNING).test(line)) return
  const colon = line.indexOf(':')
  const name = colon < 0 ? line : line.slice(0, colon)
  if (/^[^\s]+[ \t]+$/.test(name) && colon >= 0) throw new Refusal('a blank before the colon')
  throw new Refusal(
    colon >= 0 && new RegExp(`^[${TOKEN_CHARS}]+$`).test(name)
      ? 'a control character in a value'
      : 'a malformed field name',
  )
}

interface Meaning {
  readonly framing: 'none' | 'length' | 'chunked'
  readonly length: number
  readonly closes: boolean
}

/** What a well-formed head asks for. */
function interpret(head: ReadHead): Meaning {
  const { fields, version, method } = head
  const hosts = valuesOf(fields, 'host')
  const lengths = valuesOf(fields, 'content-length')
  const codings = valuesOf(fields, 'transfer-encoding')
  if (hosts.length > 1) throw new Refusal('more than one Host')
  if (hosts.length === 0 && version === 'HTTP/1.1') throw new Refusal('no Host')
  if (hosts.length === 1 && !AUTHORITY.test(hosts[0] as string)) throw new Refusal('an invalid Host')
  if (lengths.length > 0 && codings.length > 0) throw new Refusal('both Content-Length and Transfer-Encoding')
  if (lengths.length > 1) throw new Refusal('more than one Content-Length')
  if (lengths.length === 1 && !/^\d{1,15}$/.test(lengths[0] as string)) throw new Refusal('an invalid Content-Length')
  if (codings.length > 1) throw new Refusal('more than one Transfer-Encoding')
  if (codings.length === 1 && version === 'HTTP/1.0') throw new Refusal('Transfer-Encoding in HTTP/1.0')
  if (codings.length === 1 && (codings[0] as string).toLowerCase() !== 'chunked') {
    throw new Refusal('a Transfer-Encoding other than chunked')
  }
  const expectations = valuesOf(fields, 'expect')
  if (expectations.length > 1 || expectations.some(value => value.toLowerCase() !== '100-continue')) {
    throw new Refusal('an expectation other than 100-continue')
  }
  if (method === 'CONNECT') throw new Refusal('CONNECT')
  checkTarget(head, hosts[0])
  const options = valuesOf(fields, 'connection').flatMap(value => value.toLowerCase().split(/[ \t]*,[ \t]*/))
  const wantsClose = options.includes('close') || (version === 'HTTP/1.0' && !options.includes('keep-alive'))
  return {
    framing: codings.length > 0 ? 'chunked' : lengths.length > 0 ? 'length' : 'none',
    length: Number(lengths[0] ?? 0),
    closes: wantsClose,
  }
}

function checkTarget({ target, method }: ReadHead, host: string | undefined): void {
  if (target.startsWith('/')) return
  if (target === '*') {
    if (method !== 'OPTIONS') throw new Refusal('a target that is neither path nor URL')
    return
  }
  const url = /^https?:\/\/([^/?]*)/i.exec(target)
  if (url === null || !AUTHORITY.test(url[1] as string)) throw new Refusal('a target that is neither path nor URL')
  if (host !== undefined && (url[1] as string).toLowerCase() !== host.toLowerCase()) {
    throw new Refusal('a target and a Host that differ')
  }
}

interface ReadBody {
  readonly payload: string
  readonly end: number
  readonly isComplete: boolean
  readonly refusal?: string
}

function readBody(text: string, from: number, meaning: Meaning): ReadBody {
  if (meaning.framing === 'none') return { payload: '', end: from, isComplete: true }
  if (meaning.framing === 'length') {
    const end = from + meaning.length
    return { payload: text.slice(from, end), end, isComplete: text.length >= end }
  }
  const pieces: string[] = []
  try {
    return { end: readChunks(text, from, pieces), payload: pieces.join(''), isComplete: true }
  } catch (error) {
    const payload = pieces.join('')
    if (error instanceof Unfinished) return { payload, end: text.length, isComplete: false }
    if (error instanceof Refusal) return { payload, end: text.length, isComplete: false, refusal: error.message }
    throw error
  }
}

function readChunks(text: string, from: number, pieces: string[]): number {
  let at = from
  let extensionBytes = 0
  for (;;) {
    const { line, next } = readLine(text, at, beginning => checkSize(beginning, false, extensionBytes))
    checkSize(line, true, extensionBytes)
    extensionBytes += Math.max(0, line.length + 1 - (line.indexOf(';') < 0 ? line.length + 1 : line.indexOf(';') + 1))
    const size = Number.parseInt(line, 16)
    at = next
    if (size === 0) {
      return readFields(text, at, { begin: at, bytesMax: LIMITS.trailers, rule: 'trailers too large' }).end
    }
    pieces.push(text.slice(at, at + size))
    at += size
    const end = text.slice(at, at + 2)
    if (!'\r\n'.startsWith(end)) throw new Refusal('chunk data that does not end where its size says')
    if (end.length < 2) throw new Unfinished()
    at += 2
  }
}

function checkSize(line: string, isWhole: boolean, extensionBytes: number): void {
  const pattern = isWhole ? /^(?:0|[1-9a-f][0-9a-f]{0,7})(;.*)?$/is : /^(?:0|[1-9a-f][0-9a-f]{0,7})?(;.*)?$/is
  const match = pattern.exec(line)
  if (match === null || (!isWhole && line.startsWith(';'))) throw new Refusal('a malformed chunk size')
  const extension = match[1] ?? ''
  if (/[^\t\x20-\x7e;]/.test(extension)) throw new Refusal('a forbidden character in a chunk extension')
  if (extension.length + extensionBytes > LIMITS.extensions) throw new Refusal('chunk extensions too long')
}
