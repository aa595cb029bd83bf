import { err, ok, type Result } from '@waiter/base'
import { formatIsoTime } from './iso-time.ts'
import type { JsonObject } from './json.ts'
import type { PreviousToken, TokenError, TokenRecord } from './token.ts'
import { tokenEtag } from './token-etag.ts'
import { tokenError } from './token-name.ts'
import { pickEditable } from './token-record.ts'

/** What `include=` asks for. */
export interface TokenInclude {
  readonly metadata: boolean
  readonly deleted: boolean
}

/** The answer of `GET /token` (spec §3.2): body and etag, or 404. */
export function readToken(
  token: string,
  record: TokenRecord | undefined,
  include: TokenInclude,
): Result<{ readonly body: JsonObject; readonly etag: string }, TokenError> {
  if (record === undefined || (record.deleted === true && !include.deleted)) {
    return err(tokenError(404, `Couldn't find token ${token}`, { token }))
  }
  return ok({ body: renderToken(record, include), etag: tokenEtag(record) })
}

/** A token as users see it: flat, keys sorted; system metadata only on request, times as ISO text. */
export function renderToken(record: TokenRecord, include: Pick<TokenInclude, 'metadata'>): JsonObject {
  const editable = pickEditable(record as unknown as JsonObject)
  return include.metadata ? withMetadata(editable, record) : editable
}

function withMetadata(editable: JsonObject, record: PreviousToken): JsonObject {
  const { previous } = record
  const time = record['last-update-time']
  const rendered: Record<string, unknown> = {
    ...editable,
    ...(record.cluster === undefined ? {} : { cluster: record.cluster }),
    ...(record.deleted === true ? { deleted: true } : {}),
    ...(time === undefined ? {} : { 'last-update-time': formatIsoTime(time) }),
    ...(record['last-update-user'] === undefined ? {} : { 'last-update-user': record['last-update-user'] }),
    previous: previous === undefined ? {} : withMetadata(pickEditable(previous as unknown as JsonObject), previous),
    ...(record.root === undefined ? {} : { root: record.root }),
  }
  const sorted: Record<string, unknown> = {}
  for (const key of Object.keys(rendered).sort()) sorted[key] = rendered[key]
  return sorted
}
