import { WaiterError } from '@waiter/base'
import type { Exchange } from '@waiter/proxy'
import { type JsonLimits, type JsonObject, parseTokenBody } from '@waiter/services'
import { tokenFailure } from '../tokens/token-service.ts'

/** UTF-8 takes up to this many bytes a character. */
const BYTES_PER_CHARACTER_MAX = 4

/**
 * The request's body as a JSON object within limits.
 *
 * @throws WaiterError 400 `Invalid JSON payload` with the reason, 413
 */
export async function readJsonObject(exchange: Exchange, limits: JsonLimits): Promise<JsonObject> {
  const bytes = await exchange.readBody(limits.charsMax * BYTES_PER_CHARACTER_MAX)
  const body = parseTokenBody(decodeUtf8(bytes), limits)
  if (!body.ok) throw tokenFailure(body.error)
  return body.value
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new WaiterError('Invalid JSON payload', {
      code: 'WTR_TOKEN_REFUSED',
      status: 400,
      details: { reason: 'The body is not UTF-8.' },
      cause: error,
    })
  }
}
