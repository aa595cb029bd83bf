import { compilePattern } from './pattern.ts'
import type { CorsRule } from './token.ts'

/** Who decides which pages of other origins may call services (spec §1.12). */
export type CorsPolicy =
  | { readonly kind: 'allow-all' }
  | { readonly kind: 'deny-all' }
  /** The same origin, and origins that match one of the patterns as a whole. */
  | { readonly kind: 'patterns'; readonly allowedOrigins: readonly string[] }
  /** The same origin, and what the token's `cors-rules` allow. */
  | { readonly kind: 'token-parameter' }

/** A request that a browser sent from a page of some origin. */
export interface CorsRequest {
  readonly origin: string
  /** How the request itself came: `http` or `https`. */
  readonly scheme: string
  /** Host with port, as sent. */
  readonly authority: string
  readonly path: string
  /** Of a preflight: the method that is asked for. */
  readonly method: string
  /** Of the token that the request names. */
  readonly rules: readonly CorsRule[] | undefined
}

export type CorsVerdict =
  | { readonly isAllowed: true; readonly methods: readonly string[] }
  | { readonly isAllowed: false; readonly reason: string }

const ALL_METHODS = ['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'TRACE']
const ALLOWED: CorsVerdict = { isAllowed: true, methods: ALL_METHODS }

/** May a page of this origin send this request? */
export function judgeCors(policy: CorsPolicy, request: CorsRequest): CorsVerdict {
  switch (policy.kind) {
    case 'allow-all':
      return ALLOWED
    case 'deny-all':
      return { isAllowed: false, reason: 'all cross-origin requests are denied' }
    case 'patterns':
      if (isSameOrigin(request)) return ALLOWED
      return policy.allowedOrigins.some(pattern => matches(pattern, request.origin))
        ? ALLOWED
        : { isAllowed: false, reason: 'the origin is none of the allowed ones' }
    case 'token-parameter':
      return isSameOrigin(request) ? ALLOWED : judgeByRules(request)
  }
}

/**
 * Is the page one of the very host that it calls? A page that came by https counts also when its call arrives
 * by http: TLS may end in front of Waiter.
 */
export function isSameOrigin({
  origin,
  scheme,
  authority,
}: Pick<CorsRequest, 'origin' | 'scheme' | 'authority'>): boolean {
  const given = origin.toLowerCase()
  const own = authority.toLowerCase()
  return own !== '' && (given === `${scheme}://${own}` || given === `https://${own}`)
}

function judgeByRules({ origin, path, method, rules }: CorsRequest): CorsVerdict {
  if (rules === undefined || rules.length === 0) return { isAllowed: false, reason: 'the token has no cors-rules' }
  for (const rule of rules) {
    if (!matches(rule['origin-regex'], origin)) continue
    if (rule['target-path-regex'] !== undefined && !matches(rule['target-path-regex'], path)) continue
    const methods = rule.methods ?? ALL_METHODS
    if (methods.includes(method)) return { isAllowed: true, methods }
  }
  return { isAllowed: false, reason: 'none of the token’s cors-rules allows origin, path and method' }
}

/** Rules were checked when they were written; a pattern that is none matches nothing. */
function matches(pattern: string, text: string): boolean {
  const compiled = compilePattern(pattern)
  return compiled.ok && compiled.value.matches(text)
}

/** Headers of the answer to an allowed preflight. */
export function preflightHeaders(
  methods: readonly string[],
  request: { readonly origin: string; readonly requestedHeaders: string | undefined; readonly maxAgeSecs: number },
): readonly (readonly [name: string, value: string])[] {
  return [
    ['access-control-allow-credentials', 'true'],
    ['access-control-allow-headers', request.requestedHeaders ?? '*'],
    ['access-control-allow-methods', methods.join(', ')],
    ['access-control-allow-origin', request.origin],
    ['access-control-max-age', String(request.maxAgeSecs)],
    ['vary', 'origin'],
  ]
}
