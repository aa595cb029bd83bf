import { ok, type Result } from '@waiter/base'
import type { Descriptor, DescriptorError } from './descriptor.ts'
import { formerVersions, latestUpdateMs } from './former-versions.ts'
import { formatIsoTime } from './iso-time.ts'
import type { JsonObject } from './json.ts'
import { type ResolveInput, resolveDescriptor } from './resolve-descriptor.ts'
import { type FindWithdrawals, findWithdrawal, type WithdrawalCode } from './withdrawal.ts'

/** One element of the answer of `GET /token-history` (spec §3.7). */
export interface TokenHistoryEntry {
  readonly 'service-description': JsonObject
  readonly 'service-id': string
  /** What changed: always a token here. */
  readonly 'source-component': 'token'
  readonly 'update-time': string | null
  /** Why it does not serve any more, if it turned out bad. */
  readonly withdrawn?: { readonly code: WithdrawalCode; readonly reason: string; readonly time: string }
}

/** Entries of `GET /token-history` when the query says nothing. */
export const TOKEN_HISTORY_LENGTH_DEFAULT = 10

export interface TokenHistoryOptions {
  readonly lengthMax: number
  readonly findWithdrawals: FindWithdrawals
}

/** What a token has meant, newest first; versions that describe no whole service (any more) are left out. */
export function renderTokenHistory(
  input: ResolveInput,
  { lengthMax, findWithdrawals }: TokenHistoryOptions,
): Result<readonly TokenHistoryEntry[], DescriptorError> {
  const latest = resolveDescriptor(input)
  if (!latest.ok) return latest
  const entries = [renderEntry(latest.value, findWithdrawals)]
  for (const { descriptor } of formerVersions(latest.value, input)) {
    if (entries.length >= lengthMax) break
    entries.push(renderEntry(descriptor, findWithdrawals))
  }
  return ok(entries.slice(0, lengthMax))
}

function renderEntry(descriptor: Descriptor, findWithdrawals: FindWithdrawals): TokenHistoryEntry {
  const { core, serviceId } = descriptor
  const updatedMs = latestUpdateMs(descriptor)
  const withdrawn = findWithdrawal(descriptor, findWithdrawals)
  return {
    'service-description': {
      ...core,
      ...(core.image === undefined ? {} : { 'image-effective': core.image }),
      ...(core.version === undefined ? {} : { 'version-effective': core.version }),
    },
    'service-id': serviceId,
    'source-component': 'token',
    'update-time': updatedMs === undefined || Number.isNaN(updatedMs) ? null : formatIsoTime(updatedMs),
    ...(withdrawn === undefined
      ? {}
      : { withdrawn: { code: withdrawn.code, reason: withdrawn.reason, time: formatIsoTime(withdrawn.atMs) } }),
  }
}
