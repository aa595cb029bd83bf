import { err, ok, type Result } from '@waiter/base'
import { compilePattern, type Pattern } from '@waiter/services'
import { errors, type JWTPayload, jwtVerify } from 'jose'
import type { KeySet, TokenAlgorithm } from './key-set.ts'

/** A longer token is refused: it would not fit into the heads of requests to backends either. */
export const TOKEN_CHARS_MAX = 8_192
/** A name goes into headers and logs. */
const PRINCIPAL = /^[\x21-\x7e]{1,256}$/
const MS_PER_S = 1_000

/** What a web token must say to be believed (spec §7.4). */
export interface TokenRules {
  /** Issuers, as they are. */
  readonly issuers: readonly string[]
  /** Patterns that an issuer may match as a whole. */
  readonly issuerPatterns: readonly string[]
  readonly algorithms: readonly TokenAlgorithm[]
  /** `typ` of its header. */
  readonly tokenType: string
  /** The claim that names the user. */
  readonly subjectKey: string
  readonly subjectPattern: string
  /** A token that lasts longer from now on is refused. */
  readonly expiryMsMax: number
  /** Clocks may differ by so much. */
  readonly clockSkewMs: number
}

export interface VerifyOptions {
  readonly audience: string
  /** Tokens with a `scope` are for something else, unless the service takes them. */
  readonly mayBeScoped: boolean
  /** Of an OpenID login: what the token must repeat. */
  readonly nonce?: string
}

/** A token that is believed. */
export interface VerifiedToken {
  readonly principal: string
  readonly token: string
  readonly expiresAtMs: number
}

/** Why a token is not believed; 403: it is a good one, but not for this. */
export interface TokenRefusal {
  readonly status: 401 | 403
  readonly reason: string
}

export type VerifyToken = (token: string, options: VerifyOptions) => Promise<Result<VerifiedToken, TokenRefusal>>

/** @throws RangeError for a pattern that is none; the configuration is checked before */
export function createTokenVerifier(
  rules: TokenRules,
  keys: Pick<KeySet, 'find'>,
  nowMs: () => number = Date.now,
): VerifyToken {
  const issuers = new Set(rules.issuers)
  const issuerPatterns = rules.issuerPatterns.map(compile)
  const subjectPattern = compile(rules.subjectPattern)
  const isIssuer = (issuer: string): boolean =>
    issuers.has(issuer) || issuerPatterns.some(pattern => pattern.matches(issuer))

  return async (token, { audience, mayBeScoped, nonce }) => {
    if (token.length > TOKEN_CHARS_MAX) return refuse('the token is too long')
    let claims: JWTPayload
    try {
      const verified = await jwtVerify(token, header => findKey(keys, header), {
        algorithms: [...rules.algorithms],
        audience,
        typ: rules.tokenType,
        clockTolerance: rules.clockSkewMs / MS_PER_S,
        currentDate: new Date(nowMs()),
        requiredClaims: ['exp', 'iss', 'sub'],
      })
      claims = verified.payload
    } catch (error) {
      return refuse(reasonOf(error))
    }
    if (typeof claims.iss !== 'string' || !isIssuer(claims.iss)) return refuse('the issuer of the token is not known')
    const expiresAtMs = Number(claims.exp) * MS_PER_S
    if (expiresAtMs > nowMs() + rules.expiryMsMax + rules.clockSkewMs) return refuse('the token lasts too long')
    if (typeof claims.sub !== 'string' || claims.sub.trim() === '') return refuse('the token has no subject')
    if (nonce !== undefined && claims['nonce'] !== nonce) return refuse('the token is not of this login')
    const principal = Object.hasOwn(claims, rules.subjectKey) ? claims[rules.subjectKey] : undefined
    if (typeof principal !== 'string' || !PRINCIPAL.test(principal) || !subjectPattern.matches(principal))
      return refuse('the token names no user')
    if (Object.hasOwn(claims, 'scope') && !mayBeScoped)
      return err({ status: 403, reason: 'Tokens with a scope are not accepted here' })
    return ok({ principal, token, expiresAtMs })
  }
}

class UnknownKey extends Error {}

async function findKey(keys: Pick<KeySet, 'find'>, header: { readonly kid?: unknown; readonly alg?: unknown }) {
  const { kid, alg } = header
  const key = typeof kid === 'string' && typeof alg === 'string' ? await keys.find(kid, alg) : undefined
  if (key === undefined) throw new UnknownKey()
  return key
}

/** In our own words: what a library says of hostile input belongs into no answer. */
function reasonOf(error: unknown): string {
  if (error instanceof UnknownKey) return 'the key of the token is not known'
  if (error instanceof errors.JWTExpired) return 'the token has expired'
  if (error instanceof errors.JOSEAlgNotAllowed) return 'the algorithm of the token is not accepted'
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'the signature of the token is wrong'
  if (error instanceof errors.JWTClaimValidationFailed) return REASON_BY_CLAIM.get(error.claim) ?? 'a claim is wrong'
  return 'the token is malformed'
}

const REASON_BY_CLAIM: ReadonlyMap<string, string> = new Map([
  ['aud', 'the token is for another host'],
  ['exp', 'the token does not say when it expires'],
  ['iss', 'the issuer of the token is not known'],
  ['nbf', 'the token is not valid yet'],
  ['sub', 'the token has no subject'],
  ['typ', 'the token is of another type'],
])

function refuse(reason: string): Result<never, TokenRefusal> {
  return err({ status: 401, reason })
}

function compile(source: string): Pattern {
  const pattern = compilePattern(source)
  if (!pattern.ok) throw new RangeError(`the pattern ${JSON.stringify(source)} ${pattern.error}`)
  return pattern.value
}
