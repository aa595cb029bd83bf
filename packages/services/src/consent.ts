/**
 * What a user agreed to (spec §1.10): that one service, or whatever a token names while its owner stays the same, may
 * run as himself.
 */
export type ConsentGrant =
  | { readonly mode: 'service'; readonly issuedAtMs: number; readonly serviceId: string }
  | { readonly mode: 'token'; readonly issuedAtMs: number; readonly token: string; readonly owner: string }

/** The content of the consent cookie, as the original writes it. */
export type ConsentContent =
  | readonly ['service', issuedAtMs: number, serviceId: string]
  | readonly ['token', issuedAtMs: number, token: string, owner: string]

export function writeConsent(grant: ConsentGrant): ConsentContent {
  return grant.mode === 'service'
    ? ['service', grant.issuedAtMs, grant.serviceId]
    : ['token', grant.issuedAtMs, grant.token, grant.owner]
}

/** @returns undefined for anything that `writeConsent` did not make */
export function readConsent(content: unknown): ConsentGrant | undefined {
  if (!Array.isArray(content)) return undefined
  const [mode, issuedAtMs, name, owner] = content as readonly unknown[]
  if (typeof issuedAtMs !== 'number' || !Number.isSafeInteger(issuedAtMs) || typeof name !== 'string') return undefined
  if (mode === 'service' && content.length === 3) return { mode, issuedAtMs, serviceId: name }
  if (mode === 'token' && content.length === 4 && typeof owner === 'string')
    return { mode, issuedAtMs, token: name, owner }
  return undefined
}

/** Does the grant cover this service of this token, now? */
export function isConsentGiven(
  grant: ConsentGrant,
  request: {
    /** The service that would run as the requester. */
    readonly serviceId: string
    readonly token: string
    readonly owner: string
    readonly nowMs: number
    readonly maxAgeMs: number
  },
): boolean {
  const ageMs = request.nowMs - grant.issuedAtMs
  if (ageMs < 0 || ageMs >= request.maxAgeMs) return false
  return grant.mode === 'service'
    ? grant.serviceId === request.serviceId
    : grant.token === request.token && grant.owner === request.owner
}

/** What a browser must send when its user agrees: only Waiter's own page can. */
export interface ConsentPost {
  readonly scheme: string
  readonly authority: string
  readonly origin: string | undefined
  readonly referer: string | undefined
  readonly requestedWith: string | undefined
  readonly mode: string | undefined
  readonly serviceId: string | undefined
  /** The service as it would be computed now; undefined when the host names no token. */
  readonly expectedServiceId: string | undefined
}

/** Why a consent is not taken, in a sentence; undefined: it is. */
export function findConsentProblem(post: ConsentPost): string | undefined {
  const { origin, mode } = post
  const own = [`${post.scheme}://${post.authority}`, `https://${post.authority}`].map(text => text.toLowerCase())
  if (origin === undefined || !own.includes(origin.toLowerCase())) return 'Origin is not the same as the host'
  if (!isBelow(post.referer ?? '', origin)) return 'Referer does not start with origin'
  if (post.requestedWith !== 'XMLHttpRequest') return 'Header x-requested-with does not match expected value'
  if (mode !== 'service' && mode !== 'token') return 'Missing or invalid mode'
  if (post.expectedServiceId === undefined) return 'Unable to load description for token'
  if (mode === 'token') return undefined
  if (!post.serviceId) return 'Missing service-id'
  return post.serviceId === post.expectedServiceId ? undefined : 'Invalid service-id for specified token'
}

/** Not `https://host.evil.example` for `https://host`. */
function isBelow(url: string, origin: string): boolean {
  return url.startsWith(origin) && (url.length === origin.length || url.charCodeAt(origin.length) === 0x2f)
}
