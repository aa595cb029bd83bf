import type { Exchange } from '@waiter/proxy'
import type { WaiterHeaders } from '@waiter/services'
import type { Authentication } from '../auth/authenticator.ts'
import type { Identity } from '../auth/identity.ts'
import type { RequestError } from '../errors/error-response.ts'
import type { Pipeline } from '../pipeline.ts'
import type { HeaderPair } from '../request/admission.ts'
import { FOREIGN_HOST, FOREIGN_ORIGIN } from '../request/foreign-pages.ts'

/** Who may call a path of the API (spec §4.1, column "auth"). */
type Access =
  /** Anybody. */
  | 'open'
  /** Every user. */
  | 'user'
  /** Every user; or anybody when its ticket is of a token that disables authentication. */
  | 'ticket'
  /** Every user; or anybody when the token that the request names disables authentication. */
  | 'token'

const OPEN = /^\/(?:|status|favicon\.ico|images\/[^/]*|openapi\.json|metrics|\.well-known\/.*|oidc\/v1\/callback)$/
const BY_TOKEN: ReadonlySet<string> = new Set(['/service-id', '/app-name', '/waiter-ping'])
/** Calls that start commands when their headers describe one. */
const STARTING: ReadonlySet<string> = new Set(['/waiter-ping'])
/** Its page is of the token's own host; it looks closer itself (`findConsentProblem`). */
const CONSENT_PATH = '/waiter-consent'
const COOKIE_PATH = '/waiter-auth'
/** On a token's host, the token says who may read them (spec §4.1). */
const CORS_BY_TOKEN = /^\/(?:\.well-known\/auth|waiter-async\/v2)\//
/** Only who was given one of these addresses knows it. */
const BY_TICKET = /^\/waiter-async\/v2\//

export function accessOf(path: string): Access {
  if (BY_TOKEN.has(path)) return 'token'
  if (BY_TICKET.test(path)) return 'ticket'
  return OPEN.test(path) ? 'open' : 'user'
}

/** Do a token's `cors-rules` hold for this path of the API? */
export function isCorsByToken(path: string): boolean {
  return CORS_BY_TOKEN.test(path)
}

export type Entry =
  | { readonly isRefused: true; readonly error: RequestError; readonly answerHeaders: readonly HeaderPair[] }
  | {
      readonly isRefused: false
      readonly identity: Identity | undefined
      readonly answerHeaders: readonly HeaderPair[]
    }

/** What a call must pass before its handler sees it: no foreign page, a user where one is needed. */
export async function enterApi(pipeline: Pipeline, exchange: Exchange, headers: WaiterHeaders): Promise<Entry> {
  const { head } = exchange
  const foreign = await refuseForeignCall(pipeline, exchange, headers)
  if (foreign !== undefined) return { isRefused: true, error: foreign, answerHeaders: [] }
  const cors = await corsHeaders(pipeline, exchange)
  const access = accessOf(head.path)
  const isOpen = access === 'ticket' && pipeline.asyncRequests.tickets.read(head.path, head.query)?.ticket.isOpen
  if (access === 'open' || isOpen) return { isRefused: false, identity: undefined, answerHeaders: cors }
  if (access === 'token') {
    const discovery = await pipeline.discoverAfresh(exchange, headers)
    const early = discovery && pipeline.refuseEarly(exchange, discovery)
    // A ping tells of maintenance in its own words.
    const isTold = early !== undefined && early.status >= 400 && head.path === '/waiter-ping'
    if (early !== undefined && !isTold) return { isRefused: true, error: early, answerHeaders: cors }
    if (discovery?.isAuthenticationDisabled) return { isRefused: false, identity: undefined, answerHeaders: cors }
  }
  const authentication = await pipeline.authentication.authenticate(exchange, headers, undefined)
  if (authentication.kind === 'refused') return { isRefused: true, error: authentication.error, answerHeaders: cors }
  const cookies = cookiesFor(pipeline, exchange, authentication)
  return { isRefused: false, identity: authentication.identity, answerHeaders: [...cors, ...cookies] }
}

async function refuseForeignCall(
  pipeline: Pipeline,
  exchange: Exchange,
  headers: WaiterHeaders,
): Promise<RequestError | undefined> {
  const { head } = exchange
  const { cors, foreignPages } = pipeline
  const origin = head.get('origin')
  const mayStart = STARTING.has(head.path) && headers.size > 0
  // A foreign page cannot know such an address, unless a service let it ask: the token's rules say what it may read.
  if (accessOf(head.path) === 'ticket') return undefined
  const isForeign = origin === undefined ? foreignPages.isForeignSite(exchange) : !cors.isAllowedInApi(exchange, origin)
  const isChange = head.method !== 'GET' && head.method !== 'HEAD'
  // Asking for a ping starts the service that the headers describe, whatever the method.
  if (isForeign && (isChange || mayStart) && head.path !== CONSENT_PATH) return FOREIGN_ORIGIN
  if (!STARTING.has(head.path) || foreignPages.mayDescribe(exchange, headers)) return undefined
  // The host may be a token that was written through another router a moment ago.
  await pipeline.discoverAfresh(exchange, NO_HEADERS)
  return foreignPages.mayDescribe(exchange, headers) ? undefined : FOREIGN_HOST
}

async function corsHeaders(pipeline: Pipeline, exchange: Exchange): Promise<readonly HeaderPair[]> {
  const { head } = exchange
  const { cors } = pipeline
  const origin = head.get('origin')
  if (origin === undefined) return []
  if (cors.isAllowedInApi(exchange, origin)) return cors.answerHeaders(origin, true)
  if (!isCorsByToken(head.path)) return []
  const discovery = await pipeline.discoverAfresh(exchange, NO_HEADERS)
  const verdict = cors.judge(exchange, origin, discovery?.metadata['cors-rules'])
  return verdict.isAllowed ? cors.answerHeaders(origin, true) : []
}

/** Browsers get a cookie, and whoever asks for one. */
function cookiesFor(
  pipeline: Pipeline,
  exchange: Exchange,
  known: Extract<Authentication, { kind: 'known' }>,
): readonly HeaderPair[] {
  const { head } = exchange
  const isBrowser = !pipeline.authentication.isOneUser && (head.get('accept') ?? '').includes('text/html')
  if (head.path !== COOKIE_PATH && !isBrowser) return []
  return pipeline.authentication.cookiesFor(known, pipeline.clientFacts.isHttps(exchange))
}

const NO_HEADERS: WaiterHeaders = new Map()
