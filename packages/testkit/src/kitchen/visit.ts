import type { IncomingMessage, ServerResponse } from 'node:http'

/** One request being answered, with its `x-kitchen-` wishes at hand. */
export interface Visit {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly path: string
  readonly query: URLSearchParams
  /** The value of `x-kitchen-<name>`. */
  wish(name: string): string | undefined
  /** The same as a number that is not negative; `otherwise` when absent or nonsense. */
  wishNumber(name: string, otherwise: number): number
  /** True when present and not `false`. */
  wishFlag(name: string): boolean
  /** Bytes of body received: complete when the page is made, except for an echo. */
  requestBytes: number
}

const NO_QUERY = new URLSearchParams()

/** Splits the target and wraps the headers. */
export function createVisit(request: IncomingMessage, response: ServerResponse): Visit {
  const target = request.url ?? '/'
  const questionMark = target.indexOf('?')
  const wish = (name: string): string | undefined => request.headers[`x-kitchen-${name}`] as string | undefined
  return {
    request,
    response,
    path: questionMark < 0 ? target : target.slice(0, questionMark),
    query: questionMark < 0 ? NO_QUERY : new URLSearchParams(target.slice(questionMark + 1)),
    wish,
    wishNumber: (name, otherwise) => toNumber(wish(name), otherwise),
    wishFlag: name => (wish(name) ?? 'false').toLowerCase() !== 'false',
    requestBytes: 0,
  }
}

/** Text to a number that is not negative; `otherwise` when absent or nonsense. */
export function toNumber(text: string | null | undefined, otherwise: number): number {
  if (text === null || text === undefined || text.trim() === '') return otherwise
  const value = Number(text)
  return Number.isFinite(value) && value >= 0 ? Math.trunc(value) : otherwise
}

/** Resolves after `ms`; at once (in this very tick's microtasks) for 0. */
export function sleep(ms: number): Promise<void> {
  return ms <= 0 ? Promise.resolve() : new Promise(resolve => setTimeout(resolve, ms))
}
