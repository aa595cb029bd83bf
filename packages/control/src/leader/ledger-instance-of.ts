import type { InstanceRecord } from '@waiter/schedulers'
import type { LedgerInstance } from '@waiter/slots'

/** An instance as its slots are shared out; what the ledger knows already is given again, so that there is one of it. */
export function ledgerInstanceOf(
  { instanceId, host, port, startedAtMs }: InstanceRecord,
  facts: {
    readonly slots: number
    readonly expired: boolean
    readonly isFresh: boolean
    readonly known: LedgerInstance | undefined
  },
): LedgerInstance {
  const { slots, expired, isFresh, known } = facts
  const isKnown =
    known?.host === host &&
    known.port === port &&
    known.slots === slots &&
    known.startedAtMs === startedAtMs &&
    known.expired === expired &&
    known.isFresh === isFresh
  return isKnown ? known : { instanceId, host, port, slots, startedAtMs, expired, isFresh }
}
