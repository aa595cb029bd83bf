import type { ServiceView } from '@waiter/control'
import type { InstanceRecord } from '@waiter/schedulers'
import type { Withdrawal } from '@waiter/services'
import { renderReferences, renderVersionFields } from './render-versions.ts'
import { visibleDescription } from './visible-description.ts'

/** What rendering a service needs beside the leader's view of it. */
export interface RenderAppContext {
  /** `http://host:port` */
  readonly baseUrl: string
  readonly include: ReadonlySet<string>
  readonly hasEffectiveParameters: boolean
  /** Is this the token's present version? */
  readonly isCurrentVersion: (token: string, version: string) => boolean
  /** May whoever asks manage what runs as this user? */
  readonly mayManage: (user: string) => boolean
  readonly routerId: string
  /** Withdrawn versions that are this service. */
  readonly findWithdrawals: (serviceId: string) => readonly Withdrawal[]
  /** What answers for a service while it is not healthy. */
  readonly findFallback: (service: ServiceView) => string | undefined
}

type Json = Record<string, unknown>

/** One element of `GET /apps` (spec §4.2). */
export function renderApp(service: ServiceView, context: RenderAppContext): Json {
  const { definition, summary } = service
  return {
    ...commonFields(service, context),
    'instance-counts': { 'healthy-instances': summary.healthy, 'unhealthy-instances': summary.unhealthy },
    url: `${context.baseUrl}/apps/${definition.id}`,
    'service-id': definition.id,
    ...(context.include.has('healthy-instances')
      ? {
          instances: {
            'healthy-instances': runningOf(service)
              .filter(record => record.state === 'healthy')
              .map(record => ({
                host: record.host,
                id: record.instanceId,
                port: record.port,
                'started-at': isoTime(record.startedAtMs),
              })),
          },
        }
      : {}),
  }
}

/** `GET /apps/:service-id` (spec §4.3), without metrics and switches. */
export function renderAppDetails(service: ServiceView, context: RenderAppContext, routers: number): Json {
  const running = runningOf(service)
  const isManager = context.mayManage(service.definition.effective['run-as-user'])
  const render = (record: InstanceRecord): Json => renderInstance(record, { isManager, baseUrl: context.baseUrl })
  const ended = (state: InstanceRecord['state']): Json[] =>
    service.instances
      .filter(record => record.state === state)
      .sort((a, b) => (b.endedAtMs ?? 0) - (a.endedAtMs ?? 0))
      .map(render)
  return {
    ...commonFields(service, context),
    instances: {
      'active-instances': running.map(render),
      'failed-instances': ended('failed'),
      'killed-instances': ended('killed'),
    },
    'num-active-instances': running.length,
    'num-routers': routers,
    'router-id': context.routerId,
    scaling: service.scaling,
  }
}

function commonFields(service: ServiceView, context: RenderAppContext): Json {
  const { definition, summary, instances } = service
  const fallback = context.include.has('token-fallback') ? context.findFallback(service) : undefined
  const running = instances.filter(record => !isEnded(record)).length
  const current = currentTokens(summary.sourceTokens, context)
  const isManager = context.mayManage(definition.effective['run-as-user'])
  return {
    ...(current.length === 0 ? {} : { 'current-for-tokens': current }),
    ...(summary.problem === null
      ? {}
      : {
          'deployment-error-message': summary.problem.message,
          'deployment-error-details': summary.problem.details,
        }),
    ...(summary.startTrouble === null ? {} : { 'start-trouble': summary.startTrouble }),
    ...(context.hasEffectiveParameters
      ? { 'effective-parameters': visibleDescription(definition.effective, isManager) }
      : {}),
    'last-request-time': isoTime(summary.lastRequestMs),
    ...(context.include.has('references') ? { references: renderReferences(service) } : {}),
    'request-metrics': { outstanding: summary.outstanding, total: summary.total },
    'resource-usage': { cpus: running * definition.effective.cpus, mem: running * definition.effective.mem },
    'scaling-state': summary.scalingState,
    'service-description': visibleDescription(definition.core, isManager),
    ...(summary.sourceTokens.length === 0 ? {} : { 'source-tokens': summary.sourceTokens }),
    status: summary.status,
    ...(fallback === undefined ? {} : { 'token-fallback': { 'service-id': fallback } }),
    ...renderVersionFields(service, context.findWithdrawals(definition.id)),
  }
}

function currentTokens(sources: ServiceView['summary']['sourceTokens'], context: RenderAppContext): string[] {
  const names = new Set<string>()
  for (const source of sources)
    if (source.every(({ token, version }) => context.isCurrentVersion(token, version)))
      for (const { token } of source) names.add(token)
  return [...names].sort()
}

/** An instance as `/apps/:id` shows it; what it wrote is for those who manage it. */
export function renderInstance(
  record: InstanceRecord,
  { isManager, baseUrl }: { readonly isManager: boolean; readonly baseUrl: string },
): Json {
  return {
    id: record.instanceId,
    'service-id': record.serviceId,
    'started-at': isoTime(record.startedAtMs),
    // A number, as `spawned-at-ms` is: fractions of a millisecond matter when cold starts are taken apart.
    'healthy-at-ms': record.healthyAtMs,
    'healthy?': record.state === 'healthy',
    'health-check-status': record.healthCheckStatus,
    flags: record.flags,
    'exit-code': record.exitCode,
    host: record.host,
    port: record.port,
    'extra-ports': record.extraPorts,
    'log-directory': record.logDirectory,
    ...(isManager ? { 'log-url': logUrlOf(baseUrl, record) } : {}),
    message: record.message,
    status: record.state,
    ...(isManager && record.stderrTail !== '' ? { stderr: record.stderrTail } : {}),
    ...record.extra,
  }
}

/** Where the files of an instance are listed. */
export function logUrlOf(
  baseUrl: string,
  { serviceId, instanceId, host }: Pick<InstanceRecord, 'serviceId' | 'instanceId' | 'host'>,
): string {
  const query = new URLSearchParams({ 'instance-id': instanceId, host })
  return `${baseUrl}/apps/${encodeURIComponent(serviceId)}/logs?${query}`
}

function runningOf(service: ServiceView): InstanceRecord[] {
  return service.instances.filter(record => !isEnded(record))
}

function isEnded(record: InstanceRecord): boolean {
  return record.state === 'failed' || record.state === 'killed'
}

/** ISO-8601, or empty for "never". */
function isoTime(ms: number): string {
  return ms === 0 ? '' : new Date(ms).toISOString()
}
