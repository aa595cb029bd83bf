import { isValidHeaderValue } from '../header-lines.ts'
import type { CompiledPolicy } from './compiled-policy.ts'
import { FieldCode } from './field-table.ts'
import type { HeadScanner } from './head-scanner.ts'
import type { H1RequestHead } from './request-head.ts'
import type { ResponseHead } from './response-head.ts'

/**
 * The head to send to a backend: kept fields verbatim, in order and in as few slices as possible, then `extra`, then
 * the framing that the engine itself understood.
 *
 * @param authority Host for a request that came without one (HTTP/1.0)
 * @param target path and query instead of the client's
 */
export function renderRequestHead(
  head: H1RequestHead,
  scanner: HeadScanner,
  policy: CompiledPolicy,
  extra: string,
  authority: string,
  target?: string,
): string {
  const { fields, codes, fieldCount } = scanner
  const { text } = head
  let out = ''
  // An ordinary request line is part of the first verbatim run.
  const isVerbatim = head.minorVersion === 1 && target === undefined && text.charCodeAt(scanner.methodEnd + 1) === 0x2f
  let runStart = isVerbatim ? scanner.startOffset : -1
  if (!isVerbatim) {
    out = `${head.method} ${target ?? `${head.path}${head.query === null ? '' : `?${head.query}`}`} HTTP/1.1\r\n`
  }
  for (let i = 0; i < fieldCount; i++) {
    const code = codes[i]!
    const start = fields[i * 4]!
    let rewritten: string | null = null
    let isKept =
      code === FieldCode.OTHER ||
      code === FieldCode.HOST ||
      code === FieldCode.EXPECT ||
      (code === FieldCode.CONTENT_LENGTH && !head.rendersLength)
    if (code >= FieldCode.REWRITE) {
      const value = text.slice(fields[i * 4 + 2]!, fields[i * 4 + 3]!)
      rewritten = policy.rewriters[code - FieldCode.REWRITE]!(value)
      isKept = rewritten === value
    }
    if (isKept) {
      if (runStart < 0) runStart = start
      continue
    }
    if (runStart >= 0) {
      out += text.slice(runStart, start)
      runStart = -1
    }
    if (rewritten !== null && isValidHeaderValue(rewritten)) {
      out += `${text.slice(start, fields[i * 4 + 1]!)}: ${rewritten}\r\n`
    }
  }
  if (runStart >= 0) out += text.slice(runStart, scanner.headEnd - 2)
  if (head.authority === '') out += `host: ${authority}\r\n`
  else if (scanner.minorVersion === 0 && !head.has('host')) out += `host: ${head.authority}\r\n`
  out += extra
  if (head.bodyKind === 'chunked') out += 'transfer-encoding: chunked\r\n'
  else if (head.rendersLength) out += `content-length: ${head.contentLength}\r\n`
  if (head.isUpgrade) out += `connection: upgrade\r\nupgrade: ${head.upgradeProtocols}\r\n`
  return `${out}\r\n`
}

/**
 * The head to send to the client, without the final blank line: kept fields verbatim, then `extra`. Connection and
 * Transfer-Encoding are the caller's. Content-Length stays, except where a body is impossible.
 */
export function renderResponseHead(head: ResponseHead, policy: CompiledPolicy, extra: string): string {
  const { fields, codes, fieldCount, minorVersion, reasonStart, reasonEnd, headEnd } = head.scanner
  const { text, status } = head
  let out = ''
  let runStart = minorVersion === 1 && text.charCodeAt(12) === 0x20 ? 0 : -1
  if (runStart < 0) out = `HTTP/1.1 ${status} ${text.slice(reasonStart, reasonEnd)}\r\n`
  for (let i = 0; i < fieldCount; i++) {
    const code = codes[i]!
    const start = fields[i * 4]!
    if (
      code === FieldCode.OTHER ||
      (code === FieldCode.CONTENT_LENGTH && status >= 200 && status !== 204) ||
      (code === FieldCode.SET_COOKIE && !hasPrefix(text, fields[i * 4 + 2]!, policy.cookiePrefixes))
    ) {
      if (runStart < 0) runStart = start
      continue
    }
    if (runStart >= 0) {
      out += text.slice(runStart, start)
      runStart = -1
    }
  }
  if (runStart >= 0) out += text.slice(runStart, headEnd - 2)
  return out + extra
}

function hasPrefix(text: string, start: number, prefixes: readonly string[]): boolean {
  for (const prefix of prefixes) if (text.startsWith(prefix, start)) return true
  return false
}
