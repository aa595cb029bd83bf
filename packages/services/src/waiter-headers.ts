import { findParameter } from './parameters.ts'

/** What every Waiter header begins with. Such headers are never forwarded. */
export const WAITER_HEADER_PREFIX = 'x-waiter-'

/** Waiter headers of one request: lower-case name without the prefix → value. Repeated headers are joined with `,`. */
export type WaiterHeaders = ReadonlyMap<string, string>

export interface SplitHeaders {
  readonly waiter: WaiterHeaders
  /** All other headers, untouched, in order: name, value, name, value… */
  readonly passthrough: readonly string[]
}

/**
 * Separates headers for Waiter from headers for the backend (spec §1.2 point 1).
 *
 * @param rawHeaders name, value, name, value… as they came from the wire. Its length is bounded by the wire's head limit.
 */
export function splitWaiterHeaders(rawHeaders: readonly string[]): SplitHeaders {
  const waiter = new Map<string, string>()
  const passthrough: string[] = []
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    const value = rawHeaders[index + 1]!
    if (!isWaiterHeaderName(name)) {
      passthrough.push(name, value)
      continue
    }
    const key = name.slice(WAITER_HEADER_PREFIX.length).toLowerCase()
    const earlier = waiter.get(key)
    waiter.set(key, earlier === undefined ? value : `${earlier},${value}`)
  }
  return { waiter, passthrough }
}

/** Does the name begin with `x-waiter-`, in any case? */
export function isWaiterHeaderName(name: string): boolean {
  return (
    name.length >= WAITER_HEADER_PREFIX.length &&
    name.charCodeAt(1) === 45 &&
    name.slice(0, WAITER_HEADER_PREFIX.length).toLowerCase() === WAITER_HEADER_PREFIX
  )
}

const MAP_PREFIXES = ['env-', 'param-', 'metadata-']

/** Does this Waiter header (name without prefix) describe a service: a parameter, `env-*`, `param-*` or `metadata-*`? */
export function isDescriptionHeader(name: string): boolean {
  return findParameter(name) !== undefined || MAP_PREFIXES.some(prefix => name.startsWith(prefix))
}

/**
 * Does the service depend on nothing but the token (header or `Host`) and the requester? Then a router may remember
 * the descriptor under `(token header or host, requester)` until one of the tokens or overrides changes.
 */
export function isCacheableSelection(headers: WaiterHeaders, unsupportedHeaders: readonly string[]): boolean {
  for (const name of headers.keys()) {
    if (isDescriptionHeader(name) || unsupportedHeaders.includes(name)) return false
  }
  return true
}
