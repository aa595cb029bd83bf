import { err, ok, type Result } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import { hostToken } from './discover-service.ts'
import { type JsonObject, ownValue } from './json.ts'
import type { TokenError } from './token.ts'

/** Longest token name; a DNS name has at most 253 characters. */
export const TOKEN_NAME_CHARS_MAX = 253
const TOKEN_NAME = /^[a-zA-Z][a-zA-Z0-9\-_$.]+$/
const TOKEN_NAME_TEXT = '[a-zA-Z]([a-zA-Z0-9\\-_$\\.])+'

/** Makes a refusal; details default to none. */
export function tokenError(
  status: number,
  message: string,
  details: Readonly<Record<string, unknown>> = {},
): TokenError {
  return { status, message, details }
}

export interface TokenNameSources {
  /** Query parameter `token`. */
  readonly queryToken?: string | undefined
  /** `x-waiter-token`. */
  readonly headerToken?: string | undefined
  /** The `Host` header or `:authority`. */
  readonly host?: string | undefined
  readonly config: ServicesConfig
}

/** Which token a `/token` request is about: query, else header, else host (spec §3.1). */
export function chooseTokenName(sources: TokenNameSources): string | undefined {
  for (const name of [sources.queryToken, sources.headerToken]) {
    if (name !== undefined && name.trim() !== '') return name.trim()
  }
  return hostToken(sources.host, sources.config)
}

/** The token of a `GET` or `DELETE /token`; 400 when the request names none. */
export function chooseTokenNameForRead(sources: TokenNameSources): Result<string, TokenError> {
  const name = chooseTokenName(sources)
  return name === undefined ? err(tokenError(400, "Couldn't find token in request")) : ok(name)
}

/** The token of a `POST /token`, which may also be named in the body; checked to be a name that can be created. */
export function chooseTokenNameForPost(body: JsonObject, sources: TokenNameSources): Result<string, TokenError> {
  const bodyToken = ownValue(body, 'token')
  if (bodyToken === undefined) return checkTokenName(chooseTokenName(sources), sources.config)
  if (sources.queryToken !== undefined) {
    return err(tokenError(400, 'The token must be given either as query parameter or in the JSON body, not in both'))
  }
  if (typeof bodyToken !== 'string') return err(tokenError(400, 'The token in the JSON body must be a string'))
  return checkTokenName(bodyToken.trim(), sources.config)
}

/** May a token have this name (spec §3.1)? */
export function checkTokenName(name: string | undefined, config: ServicesConfig): Result<string, TokenError> {
  if (name === undefined || name === '') return err(tokenError(400, 'Must provide the token'))
  if (config.waiterHostnames.includes(name.toLowerCase())) return err(tokenError(403, 'Token name is reserved'))
  if (name.length > TOKEN_NAME_CHARS_MAX) {
    return err(tokenError(400, `Token must have at most ${TOKEN_NAME_CHARS_MAX} characters`))
  }
  const badIndex = name.search(/[^a-zA-Z0-9\-_$.]/)
  if (badIndex >= 0) {
    const codePoint = name.codePointAt(badIndex)!
    return err(
      tokenError(400, `Token contains invalid character: "${String.fromCodePoint(codePoint)}"`, {
        'char-index': badIndex,
        'char-codepoint': codePoint,
        token: name,
      }),
    )
  }
  if (TOKEN_NAME.test(name)) return ok(name)
  return err(tokenError(400, 'Token must match pattern', { pattern: TOKEN_NAME_TEXT, token: name }))
}
