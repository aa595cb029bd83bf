import type { Prng } from '../../packages/base/src/index.ts'

/** A request that can be spoiled in any part before it is written out. */
export interface Draft {
  readonly id: string
  before: string
  method: string
  target: string
  version: string
  /** Between method and target, and target and version. */
  gaps: [string, string]
  lineEnd: string
  fields: Field[]
  /** Ends the head. */
  blankLine: string
  body: string
}

export interface Field {
  name: string
  colon: string
  value: string
  end: string
}

/** One way to be odd: what it is called, and what it does to a request. */
export interface Oddity {
  readonly name: string
  spoil(draft: Draft, prng: Prng): void
}

/** The host that all ordinary requests name. */
export const HOST = 'odd.example'
/** The token that routes a request whatever its host is. */
export const TOKEN = 'differential'

/** A field as everybody writes it. */
export const field = (name: string, value: string): Field => ({ name, colon: ': ', value, end: '\r\n' })

/** A proper request. */
export function draft(id: string, parts: Partial<Pick<Draft, 'method' | 'body'>> & { fields?: Field[] } = {}): Draft {
  return {
    id,
    before: '',
    method: parts.method ?? 'GET',
    target: `/${id}`,
    version: 'HTTP/1.1',
    gaps: [' ', ' '],
    lineEnd: '\r\n',
    fields: [field('Host', HOST), field('X-Waiter-Token', TOKEN), field('X-Case', id), ...(parts.fields ?? [])],
    blankLine: '\r\n',
    body: parts.body ?? '',
  }
}

/** The draft in bytes (Latin-1). */
export function render(one: Draft): string {
  const { before, method, gaps, target, version, lineEnd, fields, blankLine, body } = one
  const lines = fields.map(({ name, colon, value, end }) => name + colon + value + end).join('')
  return `${before}${method}${gaps[0]}${target}${gaps[1]}${version}${lineEnd}${lines}${blankLine}${body}`
}

/** Replaces the value of a field, or adds the field. */
export function setField(one: Draft, name: string, value: string): void {
  const found = one.fields.find(entry => entry.name.toLowerCase() === name.toLowerCase())
  if (found === undefined) one.fields.push(field(name, value))
  else found.value = value
}

export function dropField(one: Draft, name: string): void {
  one.fields = one.fields.filter(entry => entry.name.toLowerCase() !== name.toLowerCase())
}

/** Makes the body one of known length. */
export function withLength(one: Draft, body: string, length: string = String(body.length)): void {
  dropField(one, 'Content-Length')
  dropField(one, 'Transfer-Encoding')
  if (one.method === 'GET' || one.method === 'HEAD') one.method = 'POST'
  one.fields.push(field('Content-Length', length))
  one.body = body
}

/** Makes the body a chunked one; `body` is written as it is. */
export function withChunks(one: Draft, body: string, coding = 'chunked'): void {
  dropField(one, 'Content-Length')
  dropField(one, 'Transfer-Encoding')
  if (one.method === 'GET' || one.method === 'HEAD') one.method = 'POST'
  one.fields.push(field('Transfer-Encoding', coding))
  one.body = body
}

/** A body that would be a request of its own if somebody lost count. */
export function smuggled(id: string): string {
  return `GET /${id}s HTTP/1.1\r\nHost: ${HOST}\r\nX-Waiter-Token: ${TOKEN}\r\nX-Case: ${id}s\r\n\r\n`
}

export const chunk = (data: string, extension = ''): string => `${data.length.toString(16)}${extension}\r\n${data}\r\n`
