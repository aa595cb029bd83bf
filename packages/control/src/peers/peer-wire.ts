import { WaiterError } from '@waiter/base'
import type { ReleaseStatus, SlotGrant, SlotNeed, SlotReturn } from '@waiter/slots'
import type * as proto from '../generated/waiter/v1/router.ts'

/** Converters between messages of routers and what `@waiter/slots` works with. */

const STATUSES: ReadonlySet<string> = new Set<ReleaseStatus>([
  'success',
  'client-error',
  'client-eagerly-closed',
  'server-eagerly-closed',
  'generic-error',
  'instance-error',
  'instance-busy',
  'connect-failed',
  'unused',
])

export function fromNeed(need: SlotNeed): proto.SlotNeed {
  return { ...need, waiting: need.waiting.map(waiter => ({ ...waiter, leftMs: fromLeft(waiter.leftMs) })) }
}

/** Ages are differences of one clock each: a broken one must not put anybody before everybody else. */
export function toNeed(message: proto.SlotNeed): SlotNeed {
  return {
    ...message,
    waiting: message.waiting.map(({ ageMs, priority, flow, leftMs }) => ({
      ageMs: Number.isFinite(ageMs) ? Math.max(0, ageMs) : 0,
      priority,
      flow,
      leftMs: leftMs > 0 ? leftMs : Number.POSITIVE_INFINITY,
    })),
  }
}

/** On the wire, 0 means no deadline: that is also what a router says that knows of none. */
function fromLeft(leftMs: number): number {
  const LEFT_MS_MIN = 0.001
  return leftMs === Number.POSITIVE_INFINITY ? 0 : Math.max(LEFT_MS_MIN, leftMs)
}

/** On the wire, 0 is a latency that nobody knows: what older routers say. */
export function fromReturn(slot: SlotReturn): proto.SlotReturn {
  return { ...slot, latencyMs: Math.max(0, slot.latencyMs) }
}

/** @throws WaiterError WTR_PROTOCOL a status that this version does not know */
export function toReturn({ grantId, status, latencyMs }: proto.SlotReturn): SlotReturn {
  if (!STATUSES.has(status)) throw new WaiterError(`a slot came back as "${status}"`, { code: 'WTR_PROTOCOL' })
  return { grantId, status: status as ReleaseStatus, latencyMs: latencyMs > 0 ? latencyMs : -1 }
}

export function fromGrant({ grantId, serviceId, instance, keepAgeMs }: SlotGrant): proto.SlotGrant {
  const { instanceId, host, port, startedAtMs, expired, extraPorts, logDirectory } = instance
  return {
    grantId,
    serviceId,
    instanceId,
    host,
    port,
    startedAtMs: Math.round(startedAtMs),
    expired: expired === true,
    keepAgeMs,
    extraPorts: [...extraPorts],
    logDirectory: logDirectory ?? '',
  }
}

export function toGrant({ grantId, serviceId, keepAgeMs, ...instance }: proto.SlotGrant): SlotGrant {
  const logDirectory = instance.logDirectory === '' ? null : instance.logDirectory
  return { grantId, serviceId, keepAgeMs, instance: { ...instance, logDirectory } }
}
