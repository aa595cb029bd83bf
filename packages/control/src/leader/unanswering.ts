import type { InstanceId } from '@waiter/base'
import type { InstanceRecord } from '@waiter/schedulers'
import type { ServiceLoadRow } from '../agent/leader-link.ts'

/**
 * Instances whose host does not answer, and that routers find failing: nobody is sent there until the host is back. As long
 * as they answer, what the leader cannot reach goes on being used.
 */
export class Unanswering {
  readonly #ids = new Set<InstanceId>()

  /** What the scheduler says of it. */
  observe({ instanceId, hostContact, endedAtMs }: InstanceRecord): void {
    if (hostContact === undefined || endedAtMs !== null) this.#ids.delete(instanceId)
  }

  /** @param loads what routers reported last */
  has({ instanceId, hostContact }: InstanceRecord, loads: Iterable<ServiceLoadRow>): boolean {
    if (hostContact !== undefined && !this.#ids.has(instanceId) && isFailing(instanceId, loads))
      this.#ids.add(instanceId)
    return this.#ids.has(instanceId)
  }
}

function isFailing(instanceId: InstanceId, loads: Iterable<ServiceLoadRow>): boolean {
  for (const { instances } of loads)
    for (const one of instances) if (one.instanceId === instanceId && one.consecutiveFailures > 0) return true
  return false
}
