import type { IncomingMessage } from 'node:http'

/** Enough to recognise an authorization header, too little to use it. */
const AUTHORIZATION_CHARS_MAX = 15

/** What `/request-info` and the WebSocket text `request-info` tell about a request. */
export function requestInfo(request: IncomingMessage, requestBytes: number): Record<string, unknown> {
  const target = request.url ?? '/'
  const questionMark = target.indexOf('?')
  const headers: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(request.headers)) if (!name.startsWith(':')) headers[name] = value
  const { authorization, cookie } = request.headers
  if (authorization !== undefined) headers.authorization = authorization.slice(0, AUTHORIZATION_CHARS_MAX)
  return {
    cookies: cookie === undefined ? [] : cookie.split(';').map(one => one.trim()),
    headers,
    'protocol-version': `HTTP/${request.httpVersion}`,
    'query-string': questionMark < 0 ? '' : target.slice(questionMark + 1),
    'request-length': requestBytes,
    'request-method': request.method,
    'request-version': `HTTP/${request.httpVersion}`,
    uri: questionMark < 0 ? target : target.slice(0, questionMark),
  }
}
