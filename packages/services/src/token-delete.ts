import { err, type Millis, ok, type Result } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import type { Entitlements, TokenError, TokenRecord } from './token.ts'
import { matchesEtag, tokenEtag } from './token-etag.ts'
import { tokenError } from './token-name.ts'
import { truncateHistory } from './token-record.ts'

export interface TokenDeleteInput {
  readonly token: string
  readonly existing: TokenRecord | undefined
  /** Query parameter `hard-delete=true`: forget the token and its history. Administrators only. */
  readonly isHardDelete: boolean
  readonly ifMatch?: string | undefined
  readonly requester: string
  readonly nowMs: Millis
  readonly entitlements: Entitlements
  readonly config: ServicesConfig
}

/** What a deletion comes to. Apply it only if `existing` is still what is stored. */
export type TokenDeleteDecision = {
  /** The answer's body. */
  readonly body: { readonly delete: string; readonly 'hard-delete': boolean; readonly success: true }
  readonly operationResult: 'token-deleted'
} & ({ readonly kind: 'soft-deleted'; readonly record: TokenRecord } | { readonly kind: 'hard-deleted' })

/** Decides a `DELETE /token` (spec §3.4). */
export function decideTokenDelete(input: TokenDeleteInput): Result<TokenDeleteDecision, TokenError> {
  const { token, existing, isHardDelete } = input
  if (existing === undefined || (existing.deleted === true && !isHardDelete)) {
    return err(tokenError(404, `Token ${token} does not exist`, { token }))
  }
  const refusal = findRefusal(input, existing)
  if (refusal !== undefined) return err(refusal)
  const answer = {
    body: { delete: token, 'hard-delete': isHardDelete, success: true },
    operationResult: 'token-deleted',
  } as const
  if (isHardDelete) return ok({ kind: 'hard-deleted', ...answer })
  const history = truncateHistory(existing, input.config.token.historyLengthMax)
  const record: TokenRecord = {
    ...existing,
    deleted: true,
    'last-update-time': input.nowMs,
    'last-update-user': input.requester,
    ...(history === undefined ? {} : { previous: history }),
  }
  return ok({ kind: 'soft-deleted', record, ...answer })
}

function findRefusal(input: TokenDeleteInput, existing: TokenRecord): TokenError | undefined {
  const { token, isHardDelete, ifMatch, requester, entitlements } = input
  const details = { 'authenticated-user': requester, token }
  if (isHardDelete) {
    if (!entitlements.mayAdminister(requester)) return tokenError(403, 'Cannot hard-delete token', details)
    if (ifMatch === undefined && existing.deleted !== true) {
      return tokenError(400, 'Must specify if-match header for token hard deletes', details)
    }
  } else if (!entitlements.mayManageToken(requester, existing.owner)) {
    return tokenError(403, 'User not allowed to delete token', { ...details, owner: existing.owner })
  }
  if (ifMatch === undefined || matchesEtag(ifMatch, tokenEtag(existing))) return undefined
  return tokenError(412, 'Cannot modify stale token', {
    'provided-version': ifMatch.slice(0, 128),
    'existing-version': tokenEtag(existing),
    token,
  })
}
