import type { ServiceView } from '../agent/leader-link.ts'
import type { ManagedService } from './managed-service.ts'

/** Somebody wants the service: one that is merely collected stays. @returns false when it is too late for that */
export function revokeDeletion(service: ManagedService): boolean {
  if (service.deletion?.isRevocable && !service.deletion.isStarted) service.deletion = undefined
  return service.deletion === undefined
}

/** A service in full. */
export function viewOf(service: ManagedService): ServiceView {
  const { lastDecision, expireRequests } = service
  return {
    definition: service.definition,
    summary: service.summary(),
    instances: [...service.instances.values()].map(record =>
      expireRequests.has(record.instanceId) ? { ...record, flags: [...record.flags, 'expired' as const] } : record,
    ),
    scaling: lastDecision === undefined ? {} : { ...lastDecision, removals: Object.fromEntries(service.removals) },
  }
}
