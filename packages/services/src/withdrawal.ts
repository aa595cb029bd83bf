import type { Millis, ServiceId } from '@waiter/base'
import type { Descriptor } from './descriptor.ts'
import type { PreviousToken, SourceToken, TokenRecord } from './token.ts'
import { tokenEtag } from './token-etag.ts'

/** Why a version was withdrawn. */
export type WithdrawalCode = 'crash-loop' | 'error-rate' | 'latency'

/** One version of a token that turned out bad: its requests go to the version before it until the token is written again. */
export interface Withdrawal extends SourceToken {
  readonly serviceId: ServiceId
  /** What serves in its place. */
  readonly predecessorId: ServiceId
  readonly code: WithdrawalCode
  /** A sentence with the numbers. */
  readonly reason: string
  readonly atMs: Millis
}

/** What the store keeps of a token's withdrawn versions, newest first. */
export interface WithdrawalRecord {
  readonly withdrawals: readonly Withdrawal[]
}

/** More than the versions that a token's history can hold, since one version may describe a service per requester. */
export const WITHDRAWALS_PER_TOKEN_MAX = 32

/** The record with one more withdrawal; a version of a service is withdrawn once, later reasons are not news. */
export function addWithdrawal(record: WithdrawalRecord | undefined, withdrawal: Withdrawal): WithdrawalRecord {
  const known = record?.withdrawals ?? []
  const isKnown = known.some(one => one.version === withdrawal.version && one.serviceId === withdrawal.serviceId)
  if (record !== undefined && isKnown) return record
  return { withdrawals: [withdrawal, ...known].slice(0, WITHDRAWALS_PER_TOKEN_MAX) }
}

/** The record without versions that the token's history has forgotten; undefined: nothing is left. */
export function pruneWithdrawals(
  { withdrawals }: WithdrawalRecord,
  latest: TokenRecord | undefined,
): WithdrawalRecord | undefined {
  const known = new Set<string>()
  for (let record: TokenRecord | PreviousToken | undefined = latest; record !== undefined; record = record.previous)
    known.add(tokenEtag(record))
  const kept = withdrawals.filter(({ version }) => known.has(version))
  return kept.length === 0 ? undefined : { withdrawals: kept }
}

/** Looks up what is stored of a token's withdrawn versions. */
export type FindWithdrawals = (token: string) => WithdrawalRecord | undefined

/** Why this version must not serve, if so: one of its tokens' versions was withdrawn as this very service. */
export function findWithdrawal(
  { serviceId, tokens }: Pick<Descriptor, 'serviceId' | 'tokens'>,
  find: FindWithdrawals,
): Withdrawal | undefined {
  for (const { token, version } of tokens) {
    const found = find(token)?.withdrawals.find(one => one.version === version && one.serviceId === serviceId)
    if (found !== undefined) return found
  }
  return undefined
}
