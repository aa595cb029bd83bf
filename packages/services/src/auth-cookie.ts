/** What the cookie `x-waiter-auth` says once it is opened (spec §7.2). */
export interface AuthCookie {
  readonly principal: string
  readonly createdAtMs: number
  readonly expiresAtMs: number
  /** The web token of an OpenID login, for backends. */
  readonly webToken: string | undefined
}

const PRINCIPAL_CHARS_MAX = 256
const MS_PER_S = 1000

/** `[principal, created-ms, {"expires-at": epoch seconds, "jwt-access-token": of an OpenID login}]` */
export type AuthCookieContent = readonly [
  principal: string,
  createdAtMs: number,
  { readonly 'expires-at': number; readonly 'jwt-access-token'?: string },
]

export function writeAuthCookie(
  principal: string,
  nowMs: number,
  maxAgeSecs: number,
  webToken: string | undefined = undefined,
): AuthCookieContent {
  const expiry = { 'expires-at': Math.floor(nowMs / MS_PER_S) + maxAgeSecs }
  return [principal, nowMs, webToken === undefined ? expiry : { ...expiry, 'jwt-access-token': webToken }]
}

/**
 * @param maxAgeSecs as configured now: a shorter one also shortens cookies that were given before
 * @returns undefined when it is not well-formed or has run out
 */
export function readAuthCookie(content: unknown, nowMs: number, maxAgeSecs: number): AuthCookie | undefined {
  if (!Array.isArray(content) || content.length !== 3) return undefined
  const [principal, createdAtMs, more] = content as readonly unknown[]
  const expiresAtSecs = ownValue(more, 'expires-at')
  const webToken = ownValue(more, 'jwt-access-token')
  if (typeof principal !== 'string' || principal === '' || principal.length > PRINCIPAL_CHARS_MAX) return undefined
  if (!isTime(createdAtMs) || !isTime(expiresAtSecs)) return undefined
  const expiresAtMs = Math.min(expiresAtSecs * MS_PER_S, createdAtMs + maxAgeSecs * MS_PER_S)
  if (expiresAtMs <= nowMs) return undefined
  return { principal, createdAtMs, expiresAtMs, webToken: typeof webToken === 'string' ? webToken : undefined }
}

function ownValue(object: unknown, key: string): unknown {
  const isThere = typeof object === 'object' && object !== null && Object.hasOwn(object, key)
  return isThere ? (object as Readonly<Record<string, unknown>>)[key] : undefined
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** The value of a cookie in a `cookie` header; of several with the name, the first. */
export function findCookie(header: string, name: string): string | undefined {
  for (let at = header.indexOf(name); at >= 0; at = header.indexOf(name, at + 1)) {
    const equals = skipBlanks(header, at + name.length, 1)
    const before = skipBlanks(header, at - 1, -1)
    const isWhole = header.charCodeAt(equals) === EQUALS && (before < 0 || header.charCodeAt(before) === SEMICOLON)
    if (!isWhole) continue
    const end = header.indexOf(';', equals)
    return header.slice(equals + 1, end < 0 ? undefined : end).trim()
  }
  return undefined
}

const EQUALS = 0x3d
const SEMICOLON = 0x3b
const BLANK = 0x20
const TAB = 0x09

function skipBlanks(text: string, from: number, step: 1 | -1): number {
  let at = from
  for (let code = text.charCodeAt(at); code === BLANK || code === TAB; code = text.charCodeAt(at)) at += step
  return at
}

/** The user of a principal: what is before `@` or `/`. */
export function userOf(principal: string): string {
  return /^[^@/]*/.exec(principal)?.[0] || principal
}
