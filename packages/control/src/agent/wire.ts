import { type ServiceId, WaiterError } from '@waiter/base'
import type { InstanceRecord } from '@waiter/schedulers'
import type { ServiceDefinition } from '@waiter/services'
import type * as proto from '../generated/waiter/v1/coordinator.ts'
import type {
  AssignmentChange,
  InstanceLease,
  InstancesChange,
  ReferenceRow,
  ServiceBeliefRow,
  ServiceLeases,
  ServiceLoadRow,
  ServiceProblem,
  ServiceSummary,
  ServiceUseRow,
  ServiceView,
  SourceToken,
  SuccessionRequest,
  SuccessionState,
} from './leader-link.ts'

/** Converters between wire messages and what the code works with; the JSON inside comes from our own nodes. */

/**
 * @param known definitions that this stream brought before: each travels once
 */
export function toAssignmentChange(
  message: proto.Assignment,
  known: Map<ServiceId, ServiceDefinition>,
): AssignmentChange {
  if (message.full) known.clear()
  for (const serviceId of message.removals) known.delete(serviceId)
  return {
    isFull: message.full,
    upserts: message.upserts.map(service => toServiceLeases(service, known)),
    removals: message.removals,
    peers: {
      isFull: message.full,
      peers: message.peers,
      dead: message.deadRouterIds,
      ...(message.namesAllRouters ? { awaited: message.awaitedRouterIds } : {}),
    },
  }
}

function toServiceLeases(message: proto.ServiceAssignment, known: Map<ServiceId, ServiceDefinition>): ServiceLeases {
  const { serviceId, definitionJson } = message
  const definition = definitionJson === '' ? known.get(serviceId) : parseDefinition(definitionJson)
  if (definition === undefined)
    throw new WaiterError(`an assignment of ${serviceId} without its definition`, { code: 'WTR_PROTOCOL' })
  known.set(serviceId, definition)
  return {
    definition,
    leases: message.instances.map(toLease),
    summary: toSummary(message.summary),
    waitingElsewhere: message.waitingElsewhere,
    closingInstanceIds: message.closingInstanceIds,
    lenderIds: message.lenderIds,
  }
}

/** What does not change, and goes to many routers, is rendered once: definitions, and what led to a service. */
const rendered = new WeakMap<object, string>()

function renderOnce(value: object): string {
  const known = rendered.get(value)
  if (known !== undefined) return known
  const json = JSON.stringify(value)
  rendered.set(value, json)
  return json
}

/** @param isKnown the router has been told the definition on this stream: it need not travel again */
export function fromServiceLeases(service: ServiceLeases, isKnown: boolean): proto.ServiceAssignment {
  return {
    serviceId: service.definition.id,
    definitionJson: isKnown ? '' : renderOnce(service.definition),
    instances: service.leases.map(lease => ({
      ...lease,
      // Schedulers know the start to the microsecond; the wire carries whole milliseconds.
      startedAtMs: Math.round(lease.startedAtMs),
      extraPorts: [...lease.extraPorts],
      logDirectory: lease.logDirectory ?? '',
    })),
    summary: fromSummary(service.summary),
    waitingElsewhere: service.waitingElsewhere ?? 0,
    closingInstanceIds: [...(service.closingInstanceIds ?? [])],
    lenderIds: [...(service.lenderIds ?? [])],
  }
}

function toLease(message: proto.AssignedInstance): InstanceLease {
  return { ...message, logDirectory: message.logDirectory === '' ? null : message.logDirectory }
}

export function toServiceView(message: proto.ServiceView): ServiceView {
  return {
    definition: parseDefinition(message.definitionJson),
    summary: toSummary(message.summary),
    instances: JSON.parse(message.instancesJson) as InstanceRecord[],
    scaling: JSON.parse(message.scalingJson) as Record<string, unknown>,
  }
}

export function fromServiceView(view: ServiceView): proto.ServiceView {
  return {
    serviceId: view.definition.id,
    definitionJson: JSON.stringify(view.definition),
    summary: fromSummary(view.summary),
    instancesJson: JSON.stringify(view.instances),
    scalingJson: JSON.stringify(view.scaling),
  }
}

export function toInstancesChange(message: proto.WatchInstancesResponse): InstancesChange {
  return {
    isFull: message.full,
    services: message.services.map(({ serviceId, definitionJson, instancesJson }) => ({
      serviceId,
      definition: definitionJson === '' ? undefined : parseDefinition(definitionJson),
      instances: JSON.parse(instancesJson) as InstanceRecord[],
    })),
  }
}

export function fromInstancesChange(change: InstancesChange): proto.WatchInstancesResponse {
  return {
    full: change.isFull,
    services: change.services.map(({ serviceId, definition, instances }) => ({
      serviceId,
      definitionJson: definition === undefined ? '' : JSON.stringify(definition),
      instancesJson: JSON.stringify(instances),
    })),
  }
}

export function fromLoadRow(row: ServiceLoadRow): proto.ServiceLoad {
  return {
    ...row,
    instances: row.instances.map(instance => ({ ...instance })),
    latencyCounts: [...row.latencyCounts],
  }
}

export function fromReference({ serviceId, sourceTokens }: ReferenceRow): proto.ServiceReference {
  return { serviceId, sourceTokensJson: JSON.stringify(sourceTokens) }
}

export function toReference({ serviceId, sourceTokensJson }: proto.ServiceReference): ReferenceRow {
  return { serviceId, sourceTokens: parseSourceTokens(sourceTokensJson) }
}

export function fromSuccession(request: SuccessionRequest): proto.SuccessionWanted {
  const { definition, sourceTokens, predecessorId, share, withdrawIfBad, token, version } = request
  return {
    definitionJson: JSON.stringify(definition),
    sourceTokensJson: JSON.stringify(sourceTokens),
    predecessorId,
    share,
    withdrawIfBad,
    token,
    tokenVersion: version,
  }
}

export function toSuccession(message: proto.SuccessionWanted): SuccessionRequest {
  const { predecessorId, share, withdrawIfBad, token, tokenVersion } = message
  return {
    definition: parseDefinition(message.definitionJson),
    sourceTokens: parseSourceTokens(message.sourceTokensJson),
    predecessorId,
    share,
    withdrawIfBad,
    token,
    version: tokenVersion,
  }
}

export function toUse(row: ServiceUseRow): proto.ServiceUse {
  return { serviceId: row.serviceId, instances: row.instances.map(instance => ({ ...instance })) }
}

export function toBelief(row: ServiceBeliefRow): proto.ServiceBelief {
  return { serviceId: row.serviceId, instances: row.instances.map(instance => ({ ...instance })) }
}

export function parseDefinition(json: string): ServiceDefinition {
  return JSON.parse(json) as ServiceDefinition
}

export function parseSourceTokens(json: string): SourceToken[] {
  return JSON.parse(json) as SourceToken[]
}

function toSummary(message: proto.ServiceSummary | undefined): ServiceSummary {
  const problem: ServiceProblem | null = message?.deploymentError
    ? {
        key: message.deploymentError.key,
        message: message.deploymentError.message,
        details: JSON.parse(message.deploymentError.detailsJson) as Record<string, unknown>,
      }
    : null
  return {
    status: (message?.status ?? 'Inactive') as ServiceSummary['status'],
    healthy: message?.healthy ?? 0,
    unhealthy: message?.unhealthy ?? 0,
    requested: message?.requested ?? 0,
    scalingState: (message?.scalingState ?? 'stable') as ServiceSummary['scalingState'],
    problem,
    startTrouble: message?.startTrouble || null,
    sourceTokens: JSON.parse(message?.sourceTokensJson || '[]') as SourceToken[][],
    isOnTheFly: message?.onTheFly ?? false,
    isStale: message?.stale ?? false,
    successions: JSON.parse(message?.successionsJson || '[]') as SuccessionState[],
    outstanding: message?.outstanding ?? 0,
    total: message?.total ?? 0,
    lastRequestMs: message?.lastRequestMs ?? 0,
  }
}

function fromSummary(summary: ServiceSummary): proto.ServiceSummary {
  return {
    status: summary.status,
    healthy: summary.healthy,
    unhealthy: summary.unhealthy,
    requested: summary.requested,
    scalingState: summary.scalingState,
    deploymentError: summary.problem
      ? {
          key: summary.problem.key,
          message: summary.problem.message,
          detailsJson: JSON.stringify(summary.problem.details),
        }
      : undefined,
    startTrouble: summary.startTrouble ?? '',
    sourceTokensJson: renderOnce(summary.sourceTokens),
    onTheFly: summary.isOnTheFly,
    stale: summary.isStale,
    successionsJson: summary.successions.length === 0 ? '' : JSON.stringify(summary.successions),
    outstanding: summary.outstanding,
    total: summary.total,
    lastRequestMs: summary.lastRequestMs,
  }
}
