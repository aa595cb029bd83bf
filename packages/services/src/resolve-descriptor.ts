import { err, ok, type Result } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import type { ServiceDefinition, ServiceDescription } from './description.ts'
import type { Descriptor, DescriptorError, Discovery } from './descriptor.ts'
import { type DiscoveryInput, discoverService } from './discover-service.ts'
import { computeEffectiveDescription, type ServiceOverrides } from './effective-description.ts'
import { type HeaderParameters, readHeaderParameters } from './header-parameters.ts'
import { computeServiceId } from './service-id.ts'
import type { SourceToken } from './token.ts'
import { type DescriptionProblems, validateDescription } from './validate-description.ts'

/** Set on services whose token owns them; becomes `WAITER_TOKEN` for the instance (spec §1.2 point 7). */
export const CONFIG_TOKEN_VARIABLE = 'WAITER_CONFIG_TOKEN'

export interface ResolveInput extends DiscoveryInput {
  /** The authenticated user's name; undefined only when the tokens disable authentication. */
  readonly requester: string | undefined
  /** True when authentication is one-user: everybody is the same person, so nobody needs to consent. */
  readonly isOneUser: boolean
  /** The requester agreed that a host token without run-as-user runs as himself (spec §1.10). */
  readonly hasConsent?: boolean
  /** Looks up the overrides of a service. */
  readonly findOverrides?: (serviceId: string) => ServiceOverrides | undefined
}

/** Request → service: discovery, then {@link resolveDiscovery}. */
export function resolveDescriptor(input: ResolveInput): Result<Descriptor, DescriptorError> {
  const discovery = discoverService(input)
  return discovery.ok ? resolveDiscovery(discovery.value, input) : discovery
}

/**
 * Tokens and headers → the service that serves the request (spec §1.2 points 3–8). Authorization comes after
 * (`authorizeRequest`), and so does fallback to an older version.
 */
export function resolveDiscovery(discovery: Discovery, input: ResolveInput): Result<Descriptor, DescriptorError> {
  const read = readHeaderParameters(input.headers)
  if (!read.ok) return err(headerError(read.error, {}))
  const headers = read.value
  const refusal = refuseHeaders(discovery, headers)
  if (refusal !== undefined) return err(refusal)
  const merged = mergeTemplate(discovery, headers)
  if (Object.keys(merged).length === 0 && Object.keys(headers.params).length === 0) {
    return err(unknownService(discovery))
  }
  const forbiddenParams = findForbiddenParams(merged, headers)
  if (forbiddenParams !== undefined) return err(forbiddenParams)
  const users = assignUsers(withParams(merged, headers), discovery, headers, input)
  if (!users.ok) return users
  const mapped = applyServiceMapping(users.value.description, discovery, input.config)
  const core = validate(mapped, { discovery, headers, config: input.config })
  if (!core.ok) return core
  return ok(assemble({ core: core.value, discovery, headers, input, runAsUserSource: users.value.source }))
}

/** True when the tokens' services are their own (`exclusive`), or promoted to it (spec §1.2 point 7). */
export function isExclusive(discovery: Discovery, config: ServicesConfig): boolean {
  if (discovery.records.length === 0 || discovery.hasRawServiceId) return false
  const mapping = discovery.metadata['service-mapping']
  if (mapping !== 'default') return mapping === 'exclusive'
  const updatedMs = Math.max(...discovery.records.map(one => one.record['last-update-time']))
  return updatedMs > config.token.exclusivePromotionStartTimeMs
}

function refuseHeaders(discovery: Discovery, headers: HeaderParameters): DescriptorError | undefined {
  if (Object.hasOwn(headers.parameters, 'authentication')) {
    return headerError('An authentication parameter is not supported for on-the-fly headers', {})
  }
  if (discovery.isAuthenticationDisabled && headers.isPresent) {
    return headerError('An authentication disabled token may not be combined with on-the-fly headers', {})
  }
  if (headers.parameters['idle-timeout-mins'] === 0) {
    return headerError('idle-timeout-mins on-the-fly header configured to a value of zero is not supported', {})
  }
  return undefined
}

/** Headers override the token as a whole: a header's `env` replaces the token's. */
function mergeTemplate(discovery: Discovery, headers: HeaderParameters): Record<string, unknown> {
  return { ...discovery.template, ...headers.parameters }
}

function findForbiddenParams(
  merged: Readonly<Record<string, unknown>>,
  headers: HeaderParameters,
): DescriptorError | undefined {
  const names = Object.keys(headers.params)
  if (names.length === 0) return undefined
  const allowed = Array.isArray(merged['allowed-params']) ? merged['allowed-params'] : []
  if (names.every(name => allowed.includes(name))) return undefined
  return headerError('Some params cannot be configured', { 'allowed-params': allowed, params: [...names].sort() })
}

function withParams(merged: Record<string, unknown>, headers: HeaderParameters): Record<string, unknown> {
  if (Object.keys(headers.params).length === 0) return merged
  const env = merged.env
  const base = typeof env === 'object' && env !== null && !Array.isArray(env) ? env : {}
  return { ...merged, env: { ...base, ...headers.params } }
}

interface Users {
  readonly description: Record<string, unknown>
  readonly source: Descriptor['runAsUserSource']
}

/** Who runs the service and who may use it (spec §1.2 point 5). */
function assignUsers(
  description: Record<string, unknown>,
  discovery: Discovery,
  headers: HeaderParameters,
  input: ResolveInput,
): Result<Users, DescriptorError> {
  const { requester } = input
  const users = { ...description }
  let source: Users['source'] = Object.hasOwn(headers.parameters, 'run-as-user') ? 'header' : 'token'
  const namespace = users.namespace
  if (users['run-as-user'] === '*' && namespace !== undefined && namespace !== '*') {
    return err(headerError('Cannot use run-as-requester with a specific namespace', {}))
  }
  const hasParameterHeaders = Object.keys(headers.parameters).length > 0
  if (hasParameterHeaders) {
    if (source === 'token' && requester !== undefined) {
      users['run-as-user'] = requester
      source = 'requester'
    }
    const permitted = headers.parameters['permitted-user'] ?? requester
    if (permitted !== undefined) users['permitted-user'] = permitted
  }
  if (users['run-as-user'] === '*') delete users['run-as-user']
  const isOnTheFly = headers.isPresent || discovery.source === 'header'
  if (
    users['run-as-user'] === undefined &&
    requester !== undefined &&
    (isOnTheFly || input.isOneUser || input.hasConsent === true)
  ) {
    source = isOnTheFly || !input.isOneUser ? 'requester' : 'one-user'
    users['run-as-user'] = requester
    users['permitted-user'] = headers.parameters['permitted-user'] ?? requester
  }
  if (namespace === '*') {
    if (users['run-as-user'] === undefined) delete users.namespace
    else users.namespace = users['run-as-user']
  }
  return ok({ description: users, source })
}

function applyServiceMapping(
  description: Record<string, unknown>,
  discovery: Discovery,
  config: ServicesConfig,
): Record<string, unknown> {
  if (!isExclusive(discovery, config)) return description
  const env = description.env
  const base = typeof env === 'object' && env !== null && !Array.isArray(env) ? env : {}
  const tokens = discovery.records.map(one => one.token).join(',')
  return { ...description, env: { ...base, [CONFIG_TOKEN_VARIABLE]: tokens } }
}

interface Origin {
  readonly discovery: Discovery
  readonly headers: HeaderParameters
  readonly config: ServicesConfig
}

function validate(
  description: Record<string, unknown>,
  { discovery, headers, config }: Origin,
): Result<ServiceDescription, DescriptorError> {
  // A known service was validated when it was made; limits lowered since then do not take it away.
  const isKnownService = discovery.hasRawServiceId && discovery.names.length === 1 && !headers.isPresent
  if (isKnownService && description['run-as-user'] !== undefined) return ok(description as ServiceDescription)
  const validated = validateDescription(description, { config, missingRequiredAllowed: false })
  if (validated.ok) return validated
  const { problems } = validated.error
  const isOnlyUserMissing =
    description['run-as-user'] === undefined && problems.every(problem => problem.parameter === 'run-as-user')
  const needsConsent = isOnlyUserMissing && discovery.source === 'host' && !headers.isPresent
  return err(
    invalidDescription(validated.error, description, needsConsent ? 'consent-required' : 'invalid-description'),
  )
}

interface Parts {
  readonly core: ServiceDescription
  readonly discovery: Discovery
  readonly headers: HeaderParameters
  readonly input: ResolveInput
  readonly runAsUserSource: Descriptor['runAsUserSource']
}

function assemble({ core, discovery, headers, input, runAsUserSource }: Parts): Descriptor {
  const id = computeServiceId(core, input.config.servicePrefix)
  const effective = computeEffectiveDescription(core, input.config, input.findOverrides?.(id))
  const definition: ServiceDefinition = { id, core, effective }
  const { metadata, template } = discovery
  const tokens = discovery.records.map(({ token, version }) => ({ token, version }))
  const namesBothUsers =
    template['run-as-user'] !== undefined && template['run-as-user'] !== '*' && template['permitted-user'] !== undefined
  return {
    serviceId: id,
    core,
    effective,
    definition,
    tokens,
    reference: tokens.length > 0 ? tokens : rawReference(discovery),
    isOnTheFly: headers.isPresent || discovery.source === 'header',
    hasDescriptionHeaders: headers.isPresent,
    runAsUserSource,
    isPreauthorized:
      discovery.records.length === 1 && !headers.isPresent && namesBothUsers && !discovery.hasRawServiceId,
    isAuthenticationDisabled: discovery.isAuthenticationDisabled,
    timeouts: {
      queueTimeoutMs: metadata['queue-timeout-ms'],
      socketTimeoutMs: metadata['socket-timeout-ms'],
      streamingTimeoutMs: metadata['streaming-timeout-ms'],
    },
    fallbackPeriodSecs: metadata['fallback-period-secs'],
    staleTimeoutMins: metadata['stale-timeout-mins'],
    discovery,
  }
}

function headerError(message: string, details: Readonly<Record<string, unknown>>): DescriptorError {
  return { kind: 'invalid-headers', status: 400, message, errorClass: 'waiter.ServiceMisconfigured', details }
}

function unknownService(discovery: Discovery): DescriptorError {
  return {
    kind: 'unknown-service',
    status: 400,
    message: 'Unable to identify service using waiter headers/token',
    errorClass: 'waiter.ServiceUnknown',
    details: discovery.names.length === 0 ? {} : { token: discovery.names.join(',') },
  }
}

function invalidDescription(
  problems: DescriptionProblems,
  description: Readonly<Record<string, unknown>>,
  kind: 'consent-required' | 'invalid-description',
): DescriptorError {
  const issue: Record<string, string> = {}
  for (const { parameter, message } of problems.problems) {
    if (parameter !== undefined) issue[parameter] = message
  }
  return {
    kind,
    status: 400,
    message: `Service description using waiter headers/token improperly configured\n${problems.friendlyMessage}`,
    errorClass: 'waiter.ServiceMisconfigured',
    details: {
      'friendly-error-message': problems.friendlyMessage,
      issue,
      'service-description': redactEnv(description),
      type: 'service-description-error',
    },
  }
}

/** Users keep secrets in variables; an error answer only names them. */
export function redactEnv(description: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const env = description.env
  if (typeof env !== 'object' || env === null) return description
  return { ...description, env: Object.keys(env) }
}

/** Who asks for a service by its id does not say that anybody still means it. */
function rawReference({ names, hasRawServiceId }: Discovery): readonly SourceToken[] {
  return hasRawServiceId ? names.map(token => ({ token, version: '' })) : []
}
