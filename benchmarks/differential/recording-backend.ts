/**
 * The backend behind every proxy: writes down, byte by byte, what it received, and answers what it understood. It reads
 * by the letter of RFC 9112 and notes as a flaw whatever a proxy should not have passed on.
 *
 *     node recording-backend.ts PORT FILE
 *
 * One JSON line a request goes to FILE: see `SeenRequest`. `/status` is Waiter's health check and not recorded.
 */
import { appendFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import type { SeenRequest } from './observation.ts'

const [port, file] = process.argv.slice(2) as [string, string]
const HEAD_BYTES_MAX = 1024 * 1024
const LISTEN_BACKLOG = 1024

createServer({ allowHalfOpen: true, noDelay: true }, serve).listen({
  host: '127.0.0.1',
  port: Number(port),
  backlog: LISTEN_BACKLOG,
})

function serve(socket: Socket): void {
  let held = ''
  let isOver = false
  const finish = (): void => {
    if (isOver) return
    isOver = true
    if (held !== '') record(readRequest(held))
    socket.end()
  }
  socket.on('error', finish).on('end', finish).on('close', finish)
  socket.on('data', piece => {
    if (isOver) return
    held += piece.toString('latin1')
    for (;;) {
      const seen = readRequest(held)
      if (!seen.isComplete) {
        if (seen.expectsContinue && !seen.hasBody) socket.write('HTTP/1.1 100 Continue\r\n\r\n')
        return
      }
      held = held.slice(seen.bytes)
      record(seen)
      answer(socket, seen)
      if (seen.flaws.some(flaw => flaw.startsWith('framing'))) {
        held = ''
        finish()
        return
      }
      if (held === '') return
    }
  })
}

type Reading = SeenRequest & { readonly expectsContinue: boolean; readonly hasBody: boolean }

function answer(socket: Socket, seen: SeenRequest): void {
  const body = `seen ${seen.caseId}\n`
  socket.write(
    `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\n\r\n${seen.method === 'HEAD' ? '' : body}`,
  )
}

function record({ expectsContinue: _, hasBody: __, ...seen }: Reading): void {
  if (seen.target === '/status') return
  appendFileSync(file, `${JSON.stringify(seen)}\n`)
}

/** What the bytes at the beginning of `text` say, complete or not. */
function readRequest(text: string): Reading {
  const flaws: string[] = []
  const headEnd = text.indexOf('\r\n\r\n')
  const raw = headEnd < 0 ? text.slice(0, HEAD_BYTES_MAX) : text.slice(0, headEnd)
  const [requestLine = '', ...lines] = raw.split('\r\n')
  if (/[\r\n]/.test(raw.replaceAll('\r\n', ''))) flaws.push('framing: bare CR or LF in the head')
  if (/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(raw)) flaws.push('control character in the head')
  const start = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) (HTTP\/1\.[01])$/.exec(requestLine)
  if (start === null) flaws.push('framing: not a request line')
  const fields: [string, string][] = []
  for (const line of lines) {
    const field = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/s.exec(line)
    if (field === null) flaws.push(/^[ \t]/.test(line) ? 'framing: folded line' : 'framing: not a field')
    else fields.push([(field[1] as string).toLowerCase(), field[2] as string])
  }
  const valuesOf = (name: string): string[] => fields.filter(([one]) => one === name).map(([, value]) => value)
  const [lengths, codings] = [valuesOf('content-length'), valuesOf('transfer-encoding')]
  if (lengths.length + codings.length > 1) flaws.push('framing: said more than once')
  if (valuesOf('host').length !== 1 && start?.[3] === 'HTTP/1.1') flaws.push('not exactly one Host')
  const bodyText = headEnd < 0 ? '' : text.slice(headEnd + 4)
  const body = headEnd < 0 ? noBody(false) : readBody(bodyText, { lengths, codings, flaws })
  const about = /c(\d+)-/.exec(valuesOf('x-case')[0] ?? '') ?? /c(\d+)-/.exec(requestLine) ?? /c(\d+)-/.exec(text)
  return {
    caseId: about === null ? -1 : Number(about[1]),
    method: start?.[1] ?? '',
    target: start?.[2] ?? requestLine,
    version: start?.[3] ?? '',
    fields,
    framing: codings.length > 0 ? 'chunked' : lengths.length > 0 ? 'length' : 'none',
    body: body.payload,
    trailers: body.trailers,
    isComplete: body.isComplete,
    flaws,
    bytes: headEnd + 4 + body.bytes,
    expectsContinue: headEnd >= 0 && valuesOf('expect').some(value => /^100-continue$/i.test(value)),
    hasBody: bodyText !== '',
  }
}

interface ReadBody {
  readonly payload: string
  readonly trailers: string
  readonly bytes: number
  readonly isComplete: boolean
}

const noBody = (isComplete: boolean): ReadBody => ({ payload: '', trailers: '', bytes: 0, isComplete })

function readBody(text: string, about: { lengths: string[]; codings: string[]; flaws: string[] }): ReadBody {
  const { lengths, codings, flaws } = about
  if (codings.length > 0) {
    if (codings.join().toLowerCase() !== 'chunked') flaws.push('framing: unknown coding')
    return readChunks(text, flaws)
  }
  if (lengths.length === 0) return noBody(true)
  if (!/^\d{1,15}$/.test(lengths[0] as string)) flaws.push('framing: not a length')
  const bytes = Number.parseInt(lengths[0] as string, 10) || 0
  return { payload: text.slice(0, bytes), trailers: '', bytes, isComplete: text.length >= bytes }
}

function readChunks(text: string, flaws: string[]): ReadBody {
  let at = 0
  let payload = ''
  const stop = (isComplete: boolean, trailers = ''): ReadBody => ({ payload, trailers, bytes: at, isComplete })
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at)
    if (lineEnd < 0) return stop(false)
    const line = /^([0-9a-f]{1,8})(;[\t\x20-\x7e]*)?$/i.exec(text.slice(at, lineEnd))
    if (line === null) {
      flaws.push('framing: not a chunk size')
      at = text.length
      return stop(true)
    }
    const size = Number.parseInt(line[1] as string, 16)
    at = lineEnd + 2
    if (size === 0) break
    if (text.length < at + size + 2) {
      payload += text.slice(at, at + size)
      return stop(false)
    }
    payload += text.slice(at, at + size)
    at += size + 2
    if (text.slice(at - 2, at) !== '\r\n') flaws.push('framing: a chunk does not end where its size says')
  }
  const trailersEnd = text.startsWith('\r\n', at) ? at : text.indexOf('\r\n\r\n', at)
  if (trailersEnd < 0) return stop(false)
  const trailers = trailersEnd === at ? '' : text.slice(at, trailersEnd)
  at = trailersEnd === at ? at + 2 : trailersEnd + 4
  return stop(true, trailers)
}
