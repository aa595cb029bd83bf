import type { ServiceView } from '@waiter/control'
import type { InstanceRecord } from '@waiter/schedulers'
import { compilePattern } from '@waiter/services'

/** What rendering a service needs beside the leader's view of it. */
export interface RenderAppContext {
  readonly host: string
  readonly include: ReadonlySet<string>
  readonly hasEffectiveParameters: boolean
  /** Is this the token's present version? */
  readonly isCurrentVersion: (token: string, version: string) => boolean
  readonly routerId: string
  /** By which the client came. */
  readonly scheme: 'http' | 'https'
}

type Json = Record<string, unknown>

/** One element of `GET /apps` (spec §4.2). */
export function renderApp(service: ServiceView, context: RenderAppContext): Json {
  const { definition, summary } = service
  return {
    ...commonFields(service, context),
    'instance-counts': { 'healthy-instances': summary.healthy, 'unhealthy-instances': summary.unhealthy },
    'last-request-time': isoTime(summary.lastRequestMs),
    url: `${context.scheme}://${context.host}/apps/${definition.id}`,
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

/** `GET /apps/:service-id` (spec §4.3). */
export function renderAppDetails(service: ServiceView, context: RenderAppContext, routers: number): Json {
  const running = runningOf(service)
  const ended = (state: InstanceRecord['state']): Json[] =>
    service.instances
      .filter(record => record.state === state)
      .sort((a, b) => (b.endedAtMs ?? 0) - (a.endedAtMs ?? 0))
      .map(record => renderInstance(record))
  return {
    ...commonFields(service, context),
    instances: {
      'active-instances': running.map(record => renderInstance(record)),
      'failed-instances': ended('failed'),
      'killed-instances': ended('killed'),
    },
    'last-request-time': isoTime(service.summary.lastRequestMs),
    'num-active-instances': running.length,
    'num-routers': routers,
    'router-id': context.routerId,
    scaling: service.scaling,
  }
}

function commonFields({ definition, summary, instances }: ServiceView, context: RenderAppContext): Json {
  const running = instances.filter(record => !isEnded(record)).length
  const current = currentTokens(summary.sourceTokens, context)
  return {
    ...(current.length === 0 ? {} : { 'current-for-tokens': current }),
    ...(summary.problem === null
      ? {}
      : {
          'deployment-error-message': summary.problem.message,
          'deployment-error-details': summary.problem.details,
        }),
    ...(context.hasEffectiveParameters ? { 'effective-parameters': definition.effective } : {}),
    'request-metrics': { outstanding: summary.outstanding, total: summary.total },
    'resource-usage': { cpus: running * definition.effective.cpus, mem: running * definition.effective.mem },
    'scaling-state': summary.scalingState,
    'service-description': definition.core,
    ...(summary.sourceTokens.length === 0 ? {} : { 'source-tokens': summary.sourceTokens }),
    status: summary.status,
  }
}

function currentTokens(sources: ServiceView['summary']['sourceTokens'], context: RenderAppContext): string[] {
  const names = new Set<string>()
  for (const source of sources)
    if (source.every(({ token, version }) => context.isCurrentVersion(token, version)))
      for (const { token } of source) names.add(token)
  return [...names].sort()
}

/** An instance as `/apps/:id` shows it. */
export function renderInstance(record: InstanceRecord): Json {
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
    'log-url': `/apps/${record.serviceId}/logs?instance-id=${encodeURIComponent(record.instanceId)}&host=${encodeURIComponent(record.host)}`,
    message: record.message,
    status: record.state,
    ...(record.stderrTail === '' ? {} : { stderr: record.stderrTail }),
    ...record.extra,
  }
}

/** Does `GET /apps?…` select this service: parameters by equality or pattern, tokens, manageability (spec §4.2)? */
export function isSelectedApp(
  service: ServiceView,
  query: ReadonlyMap<string, readonly string[]>,
  mayManage: (user: string) => boolean,
): boolean {
  const { effective } = service.definition
  if (!query.has('run-as-user') && !mayManage(effective['run-as-user'])) return false
  for (const [name, values] of query) {
    if (NOT_FILTERS.has(name)) continue
    if (name === 'token' || name === 'token-version') {
      const key = name === 'token' ? 'token' : 'version'
      const found = service.summary.sourceTokens.flat().map(source => source[key])
      if (!found.some(text => values.some(value => isMatch(value, text)))) return false
      continue
    }
    const text = readPath(effective as unknown as Json, name)
    if (!values.some(value => (value === '*' ? text !== '' : isMatch(value, text)))) return false
  }
  return true
}

const NOT_FILTERS: ReadonlySet<string> = new Set(['include', 'effective-parameters', 'star-mode'])

function isMatch(wanted: string, text: string): boolean {
  if (wanted === text) return true
  const pattern = compilePattern(wanted)
  return pattern.ok && pattern.value.matches(text)
}

function readPath(value: Json, path: string): string {
  let current: unknown = value
  for (const key of path.split('.')) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, key)) return ''
    current = (current as Json)[key]
  }
  return current === undefined || current === null ? '' : String(current)
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
