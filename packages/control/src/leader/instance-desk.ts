import { type InstanceId, type Logger, type ServiceId, WaiterError } from '@waiter/base'
import type { LogEntry, LogPiece, LogRange, Scheduler } from '@waiter/schedulers'
import type { InstanceSignal } from '../agent/leader-link.ts'
import type { LeaderClock } from '../clock.ts'
import { isEnded, type ManagedService } from './managed-service.ts'

export interface InstanceDeskOptions {
  readonly services: ReadonlyMap<ServiceId, ManagedService>
  readonly scheduler: Scheduler
  readonly clock: LeaderClock
  readonly log: Logger
  /** Have the service reviewed at the end of the turn. */
  readonly touch: (service: ManagedService) => void
}

/** What people want of single instances: that they go, and what they have written. */
export class InstanceDesk {
  readonly #options: InstanceDeskOptions

  constructor(options: InstanceDeskOptions) {
    this.#options = options
  }

  /** @returns false when no such instance runs */
  signal({ serviceId, instanceId, kind, drainTimeoutMs }: InstanceSignal): boolean {
    const { services, clock, log, touch } = this.#options
    const service = services.get(serviceId)
    const record = service?.instances.get(instanceId)
    if (service === undefined || record === undefined || isEnded(record)) return false
    const sinceMs = clock.nowMs()
    log.info({ serviceId, instanceId, kind, drainTimeoutMs }, 'somebody wants an instance gone')
    if (kind === 'expire') service.requestExpiry(instanceId)
    else if (!service.removals.get(instanceId)?.isStopping)
      service.beginRemoval(instanceId, {
        reason: kind === 'force-kill' ? 'Killed on request' : 'Stopped on request',
        sinceMs,
        isStopping: false,
        isFinal: true,
        isHard: kind === 'force-kill',
        ...(kind === 'force-kill' ? { drainUntilMs: sinceMs } : {}),
        ...(kind === 'soft-kill' && drainTimeoutMs > 0 ? { drainUntilMs: sinceMs + drainTimeoutMs } : {}),
      })
    touch(service)
    return true
  }

  async readLog(serviceId: ServiceId, instanceId: InstanceId, path: string, range: LogRange): Promise<LogPiece> {
    this.#requireInstance(serviceId, instanceId)
    return await this.#options.scheduler.readLog({ serviceId, instanceId }, path, range)
  }

  async logs(serviceId: ServiceId, instanceId: InstanceId, path: string): Promise<readonly LogEntry[]> {
    this.#requireInstance(serviceId, instanceId)
    return await this.#options.scheduler.logs({ serviceId, instanceId }, path)
  }

  /** Ended ones that are remembered count as well. */
  #requireInstance(serviceId: ServiceId, instanceId: InstanceId): void {
    if (this.#options.services.get(serviceId)?.instances.has(instanceId)) return
    throw new WaiterError(`no such instance: ${instanceId}`, { code: 'WTR_NO_SUCH_INSTANCE', status: 404 })
  }
}
