/** One response as it was on the wire. */
export interface RawResponse {
  /** `HTTP/1.1` */
  readonly version: string
  readonly status: number
  readonly reason: string
  /** In the order and case received, duplicates included. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** The values of one header, whatever its case, joined by `, `; undefined when absent. */
  header(name: string): string | undefined
  readonly body: Buffer
  /** The body as UTF-8. */
  readonly text: string
  /** Of a chunked body: the size of each chunk. */
  readonly chunkBytes: readonly number[]
  readonly trailers: readonly (readonly [name: string, value: string])[]
  /** False: the connection ended before the body did. */
  readonly isComplete: boolean
}

/** What is known about the bytes besides themselves. */
export interface ParseContext {
  /** The connection has ended: an unframed body is complete, any other that lacks bytes is cut off. */
  readonly hasEnded: boolean
  /** The request was a HEAD: no body follows, whatever the headers say. */
  readonly isHead?: boolean
}

/** The answer of `parseRawResponse`. */
export interface ParsedResponse {
  readonly response: RawResponse
  /** How many bytes it took. */
  readonly consumedBytes: number
}

/**
 * Reads the response at the beginning of `bytes`; undefined while more bytes are needed. A second implementation on
 * purpose: strict, simple, slow, and independent of the parsers under test.
 *
 * @throws {Error} saying what is not HTTP/1
 */
export function parseRawResponse(bytes: Buffer, context: ParseContext): ParsedResponse | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd < 0) {
    if (context.hasEnded && bytes.length > 0) throw new Error(`the connection ended within a head: ${quoted(bytes)}`)
    return undefined
  }
  const [statusLine, ...fieldLines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n')
  const start = /^(HTTP\/1\.[01]) (\d{3}) (.*)$/.exec(statusLine as string)
  if (start === null) throw new Error(`not a status line: ${JSON.stringify(statusLine)}`)
  const headers = fieldLines.map(parseField)
  const status = Number(start[2])
  const body = parseBody(bytes, headEnd + 4, { ...context, status, headers })
  if (body === undefined) return undefined
  const response = {
    version: start[1] as string,
    status,
    reason: start[3] as string,
    headers,
    header: (name: string) => fieldValue(headers, name),
    body: body.body,
    text: body.body.toString(),
    chunkBytes: body.chunkBytes ?? [],
    trailers: body.trailers ?? [],
    isComplete: body.isComplete,
  }
  return { response, consumedBytes: body.end }
}

type Fields = (readonly [string, string])[]

interface ParsedBody {
  readonly body: Buffer
  readonly end: number
  readonly isComplete: boolean
  readonly chunkBytes?: number[]
  readonly trailers?: Fields
}

type BodyContext = ParseContext & { readonly status: number; readonly headers: Fields }

function parseBody(bytes: Buffer, start: number, context: BodyContext): ParsedBody | undefined {
  const { status, headers, hasEnded } = context
  if (context.isHead === true || status < 200 || status === 204 || status === 304) {
    return { body: Buffer.alloc(0), end: start, isComplete: true }
  }
  const encoding = fieldValue(headers, 'transfer-encoding')
  if (encoding !== undefined) {
    if (encoding.toLowerCase() !== 'chunked') throw new Error(`unknown transfer-encoding ${encoding}`)
    return parseChunks(bytes, start, hasEnded)
  }
  const length = fieldValue(headers, 'content-length')
  if (length !== undefined && !/^\d+$/.test(length)) throw new Error(`not a content-length: ${length}`)
  const end = length === undefined ? Number.POSITIVE_INFINITY : start + Number(length)
  if (bytes.length < end && !hasEnded) return undefined
  const isComplete = length === undefined || bytes.length >= end
  return { body: bytes.subarray(start, end), end: Math.min(end, bytes.length), isComplete }
}

function parseChunks(bytes: Buffer, start: number, hasEnded: boolean): ParsedBody | undefined {
  const pieces: Buffer[] = []
  const result = (end: number, isComplete: boolean, trailers: Fields = []): ParsedBody => {
    return { body: Buffer.concat(pieces), end, isComplete, chunkBytes: pieces.map(piece => piece.length), trailers }
  }
  const incomplete = (): ParsedBody | undefined => (hasEnded ? result(bytes.length, false) : undefined)
  let at = start
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) return incomplete()
    const line = bytes.subarray(at, lineEnd).toString('latin1')
    const size = /^([0-9a-f]+)(?:;.*)?$/i.exec(line)
    if (size === null) throw new Error(`not a chunk size: ${JSON.stringify(line)}`)
    const sizeBytes = Number.parseInt(size[1] as string, 16)
    at = lineEnd + 2
    if (sizeBytes === 0) break
    if (bytes.length < at + sizeBytes + 2) return incomplete()
    pieces.push(bytes.subarray(at, at + sizeBytes))
    at += sizeBytes
    if (bytes.toString('latin1', at, at + 2) !== '\r\n') throw new Error('a chunk does not end where its size says')
    at += 2
  }
  const trailers: Fields = []
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) return incomplete()
    const line = bytes.subarray(at, lineEnd).toString('latin1')
    at = lineEnd + 2
    if (line === '') return result(at, true, trailers)
    trailers.push(parseField(line))
  }
}

function parseField(line: string): readonly [string, string] {
  const field = /^([^\s:]+):[ \t]*(.*?)[ \t]*$/.exec(line)
  if (field === null) throw new Error(`not a header: ${JSON.stringify(line)}`)
  return [field[1] as string, field[2] as string]
}

function fieldValue(fields: Fields, name: string): string | undefined {
  const values = fields.filter(([one]) => one.toLowerCase() === name.toLowerCase()).map(([, value]) => value)
  return values.length === 0 ? undefined : values.join(', ')
}

function quoted(bytes: Buffer): string {
  const CHARS_MAX = 200
  return JSON.stringify(bytes.subarray(0, CHARS_MAX).toString('latin1'))
}
