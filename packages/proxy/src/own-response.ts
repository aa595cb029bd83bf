import { STATUS_CODES } from 'node:http'
import { WaiterError } from '@waiter/base'
import type { EngineContext } from './engine-context.ts'
import type { RequestHead } from './exchange.ts'
import { renderHeader } from './header-lines.ts'

/** Fields that frame a message: the engine renders them from what it knows. */
const ENGINE_FIELDS = new Set(['content-length', 'transfer-encoding', 'connection', 'date', 'keep-alive', 'upgrade'])

/** True for a field that the owner of an exchange may not set. */
export function isEngineField(lowerName: string): boolean {
  return ENGINE_FIELDS.has(lowerName)
}

/** The head of an answer of our own, final blank line included. */
export interface OwnHead {
  readonly status: number
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Rendered `content-length` or `transfer-encoding` line, or nothing. */
  readonly framing: string
  /** Rendered `connection` line, or nothing. */
  readonly connection: string
}

/**
 * Renders a head of our own.
 *
 * @throws {WaiterError} WTR_BAD_HEADER on a field that could break out of its line or that belongs to the engine
 */
export function renderOwnHead(context: EngineContext, head: OwnHead): string {
  const { status } = head
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new WaiterError(`${status} is no final HTTP status`, { code: 'WTR_BAD_HEADER' })
  }
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\ndate: ${context.httpDate()}\r\n`
  for (const [name, value] of head.headers) {
    if (ENGINE_FIELDS.has(name.toLowerCase())) {
      throw new WaiterError(`the field ${name} is set by the proxy engine`, { code: 'WTR_BAD_HEADER' })
    }
    text += renderHeader(name, value)
  }
  return `${text}${head.framing}${head.connection}\r\n`
}

/** Head and body of an answer that the engine gives alone, before it closes. */
export function renderRefusal(
  context: EngineContext,
  { status, message, head }: { status: number; message: string; head: RequestHead | null },
): { readonly text: string; readonly body: Buffer } {
  const page = context.renderError(status, message, head)
  const body = Buffer.from(page.body, 'utf8')
  const framing = `content-length: ${body.length}\r\n`
  const text = renderOwnHead(context, { status, headers: page.headers, framing, connection: 'connection: close\r\n' })
  return { text, body }
}

/** The Connection line that tells a client what becomes of its connection. */
export function renderConnection(keepAlive: boolean, minorVersion: number): string {
  if (!keepAlive) return 'connection: close\r\n'
  return minorVersion === 0 ? 'connection: keep-alive\r\n' : ''
}
