import type { BackendProtocol } from '@waiter/proxy'
import type { LocationKind } from '@waiter/slots'

/** Longer locations are none that we could keep in a URL of ours. */
export const LOCATION_CHARS_MAX = 2_048
/** What a header's blanks or joined fields would make of it is no address that anybody meant. */
const VISIBLE = /^[\x21-\x7e]+$/

/** What was asked of which instance: where its `location` starts from. */
export interface LocationBase {
  readonly protocol: BackendProtocol
  readonly host: string
  readonly port: number
  /** Path and query. */
  readonly target: string
}

/** Where a `location` leads. */
export interface Location {
  readonly kind: LocationKind
  /** Path and query on the instance itself; empty elsewhere. */
  readonly target: string
}

const NOWHERE: Location = { kind: 'none', target: '' }
const ELSEWHERE: Location = { kind: 'foreign', target: '' }

/** Resolves a response's `location` (spec §8.1): is it of the instance that said it? Never asks anybody. */
export function judgeLocation(location: string | undefined, base: LocationBase): Location {
  if (location === undefined || location.length > LOCATION_CHARS_MAX || !VISIBLE.test(location)) return NOWHERE
  const host = base.host.includes(':') ? `[${base.host}]` : base.host
  const scheme = base.protocol === 'https' || base.protocol === 'h2' ? 'https' : 'http'
  // Put together as text: a path that begins with two slashes is a path here.
  const asked = URL.parse(`${scheme}://${host}:${base.port}${base.target}`)
  const url = asked && URL.parse(location, asked.href)
  if (!url) return NOWHERE
  if (url.origin !== asked.origin) return ELSEWHERE
  const target = `${url.pathname}${url.search}`
  return target.length > LOCATION_CHARS_MAX ? NOWHERE : { kind: 'own', target }
}
