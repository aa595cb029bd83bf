import { err, ok, type Result } from '@waiter/base'
import { isJsonObject, type JsonLimits, type JsonObject, parseLimitedJson } from './json.ts'
import type { TokenError } from './token.ts'
import { tokenError } from './token-name.ts'

/** Body of an ordinary token write. */
export const TOKEN_BODY_LIMITS: JsonLimits = { charsMax: 65_536, depthMax: 16, itemsMax: 2048 }
/** An administrator copies a token together with its history. */
export const ADMIN_TOKEN_BODY_LIMITS: JsonLimits = { charsMax: 524_288, depthMax: 16, itemsMax: 16_384 }

/** Parses the body of `POST /token` within limits; anything but a JSON object is a 400. */
export function parseTokenBody(text: string, limits: JsonLimits = TOKEN_BODY_LIMITS): Result<JsonObject, TokenError> {
  const parsed = parseLimitedJson(text, limits)
  if (!parsed.ok) return err(tokenError(400, 'Invalid JSON payload', { reason: parsed.error }))
  if (isJsonObject(parsed.value)) return ok(parsed.value)
  return err(tokenError(400, 'Invalid JSON payload', { reason: 'The JSON must be an object.' }))
}
