import type { ServiceView } from '@waiter/control'
import {
  formerVersions,
  renderReference,
  resolveDescriptor,
  type ServicesConfig,
  type TokenRecord,
  type Withdrawal,
  type WithdrawalRecord,
} from '@waiter/services'

type Json = Record<string, unknown>

/** Withdrawn versions of tokens that are this service, newest first. */
export function withdrawalsOf(
  serviceId: string,
  records: Iterable<readonly [token: string, record: WithdrawalRecord]>,
): readonly Withdrawal[] {
  const found: Withdrawal[] = []
  for (const [, { withdrawals }] of records) found.push(...withdrawals.filter(one => one.serviceId === serviceId))
  return found.sort((a, b) => b.atMs - a.atMs)
}

/** What became of a service as a version of its tokens (docs/services.md, Versions): only what there is to say. */
export function renderVersionFields({ summary }: ServiceView, withdrawals: readonly Withdrawal[]): Json {
  return {
    ...(summary.isStale ? { stale: true } : {}),
    ...(summary.successions.length === 0
      ? {}
      : {
          'takes-over-from': summary.successions.map(state => ({
            'service-id': state.predecessorId,
            state: state.kind,
            reason: state.reason,
            token: state.token,
            version: state.version,
            'wanted-instances': state.wanted,
          })),
        }),
    ...(withdrawals.length === 0 ? {} : { withdrawn: withdrawals.map(renderWithdrawal) }),
  }
}

/** Why a version does not serve any more. */
export function renderWithdrawal(withdrawal: Withdrawal): Json {
  return {
    code: withdrawal.code,
    reason: withdrawal.reason,
    time: new Date(withdrawal.atMs).toISOString(),
    token: withdrawal.token,
    version: withdrawal.version,
    'replaced-by': withdrawal.predecessorId,
  }
}

/** How a service was reached (spec §2.9). */
export function renderReferences({ summary }: ServiceView): readonly Json[] {
  const sources = summary.isOnTheFly ? [[], ...summary.sourceTokens] : summary.sourceTokens
  return sources.map(one => renderReference({ sources: one }))
}

/** What answers for a service while it is not healthy: the version before it of the tokens that mean it now. */
export function findFallback(
  { definition, summary }: ServiceView,
  parts: { readonly findToken: (name: string) => TokenRecord | undefined; readonly config: ServicesConfig },
): string | undefined {
  for (const sources of summary.sourceTokens) {
    const input = {
      headers: new Map([['token', sources.map(source => source.token).join(',')]]),
      host: undefined,
      findToken: parts.findToken,
      requester: definition.effective['run-as-user'],
      isOneUser: true,
      config: parts.config,
    }
    const latest = resolveDescriptor(input)
    if (!latest.ok || latest.value.serviceId !== definition.id) continue
    for (const { descriptor } of formerVersions(latest.value, input))
      if (descriptor.serviceId !== definition.id) return descriptor.serviceId
  }
  return undefined
}
