import type { RequestHead } from '@waiter/proxy'
import { isWaiterHeaderName } from '@waiter/services'

/** Paths that are Waiter's own on every host (spec §1.1); they shadow paths of applications. */
const API_PATHS: ReadonlySet<string> = new Set([
  '/app-name',
  '/service-id',
  '/token',
  '/waiter-ping',
  '/.well-known/auth/expires-at',
  '/.well-known/auth/keep-alive',
  '/.well-known/oidc/v1/openid-enabled',
  '/oidc/v1/callback',
])
const WAITER_HEADER_PREFIX = 'x-waiter-'
const API_PATH_PREFIXES = /^\/waiter-(?:async\/(?:v2\/)?(?:complete|result|status)\/|auth(?:$|\/)|consent|interstitial)/

/** What a request's headers say to Waiter itself. */
export interface Classified {
  readonly isApi: boolean
  /** Waiter headers by lower-case name without the prefix; undefined when there is none. */
  readonly waiterHeaders: Map<string, string> | undefined
}

/**
 * Decides whether Waiter answers a request itself or a service does (spec §1.1). One pass over the header names.
 *
 * @param isWaiterHost whether the host (without port) is one of Waiter's own names
 */
export function classifyRequest(head: RequestHead, isWaiterHost: (host: string) => boolean): Classified {
  const waiterHeaders = collectWaiterHeaders(head)
  const path = head.path
  if (API_PATHS.has(path) || (path.startsWith('/waiter-') && API_PATH_PREFIXES.test(path)))
    return { isApi: true, waiterHeaders }
  const isNamed = head.host !== '' && !isWaiterHost(head.host)
  if (isNamed) return { isApi: false, waiterHeaders }
  const hasOnlyDebug = waiterHeaders === undefined || (waiterHeaders.size === 1 && waiterHeaders.has('debug'))
  return { isApi: hasOnlyDebug, waiterHeaders }
}

function collectWaiterHeaders(head: RequestHead): Map<string, string> | undefined {
  let headers: Map<string, string> | undefined
  head.forEach((name, value) => {
    if (!isWaiterHeaderName(name)) return
    headers ??= new Map()
    const key = name.slice(WAITER_HEADER_PREFIX.length).toLowerCase()
    const earlier = headers.get(key)
    headers.set(key, earlier === undefined ? value : `${earlier},${value}`)
  }, WAITER_HEADER_PREFIX)
  return headers
}
