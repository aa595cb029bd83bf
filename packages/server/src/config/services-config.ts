import { userInfo } from 'node:os'
import { WaiterError } from '@waiter/base'
import type { AuthenticationSettings, AuthenticatorSpec, CorsSettings } from '@waiter/router'
import {
  compilePattern,
  createServicesConfig,
  type ServicesConfig,
  userOf,
  validateServicesConfig,
} from '@waiter/services'
import type { Settings } from './schema.ts'
import { toIdentityProvider } from './to-identity-provider.ts'

/** Names under which a router is always reached for its own API. */
const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]']

/**
 * What the pure rules of services and tokens need of the configuration.
 *
 * @throws WaiterError WTR_CONFIG when defaults or profiles break those rules
 */
export function toServicesConfig(settings: Settings): ServicesConfig {
  const config = buildServicesConfig(settings)
  const valid = validateServicesConfig(config)
  if (valid.ok) return config
  throw new WaiterError(`the configuration is not valid: ${valid.error.join('; ')}`, { code: 'WTR_CONFIG' })
}

/** A part of the configuration that has the right type, but breaks a rule of services or tokens. */
export interface ServicesProblem {
  /** Where it is written. */
  readonly key: readonly (string | number)[]
  readonly message: string
}

/** The first part of the configuration that breaks a rule of services or tokens; undefined when all is well. */
export function findServicesProblem(settings: Settings): ServicesProblem | undefined {
  return findAccessProblem(settings) ?? findDescriptionProblem(settings)
}

/** What would let in nobody, or somebody whom nobody meant. */
function findAccessProblem(settings: Settings): ServicesProblem | undefined {
  const config = settings['authenticator-config']
  const origins = settings['cors-config'].patterns['allowed-origins']
  for (const [index, origin] of origins.entries()) {
    const pattern = compilePattern(origin)
    if (pattern.ok) continue
    const key = ['cors-config', 'patterns', 'allowed-origins', index]
    return { key, message: `not a supported regular expression: it ${pattern.error}` }
  }
  if (config.kind === 'api-keys' && config['api-keys'].keys.length === 0)
    return { key: ['authenticator-config', 'kind'], message: 'without any key under api-keys.keys nobody gets in' }
  if (config.kind === 'trusted-header' && config['trusted-header'].addresses.length === 0)
    return {
      key: ['authenticator-config', 'kind'],
      message: 'without any address under trusted-header.addresses nobody is believed',
    }
  return findProviderProblem(config)
}

function findProviderProblem({ kind, jwt }: Settings['authenticator-config']): ServicesProblem | undefined {
  const at = (...key: (string | number)[]) => ['authenticator-config', ...key]
  if (kind === 'jwt' && jwt === undefined)
    return { key: at('kind'), message: 'needs an identity provider under authenticator-config.jwt' }
  if (jwt === undefined) return undefined
  if (kind === 'one-user')
    return {
      key: at('jwt'),
      message: 'is without effect with one-user, who is everybody: use `kind: jwt`, api-keys or trusted-header',
    }
  for (const [index, pattern] of jwt['issuer-patterns'].entries()) {
    const compiled = compilePattern(pattern)
    if (!compiled.ok)
      return {
        key: at('jwt', 'issuer-patterns', index),
        message: `not a supported regular expression: it ${compiled.error}`,
      }
  }
  const subject = compilePattern(jwt['subject-regex'])
  return subject.ok
    ? undefined
    : { key: at('jwt', 'subject-regex'), message: `not a supported regular expression: it ${subject.error}` }
}

/** Under these a host is reached by others; in a URL and in `host` IPv6 has brackets. */
function ownAddresses({ host, 'cluster-config': { advertise } }: Settings): string[] {
  const WILDCARDS = ['0.0.0.0', '::']
  return [host, advertise]
    .filter(one => !WILDCARDS.includes(one))
    .map(address => (address.includes(':') ? `[${address}]` : address))
}

function findDescriptionProblem(settings: Settings): ServicesProblem | undefined {
  const valid = validateServicesConfig(buildServicesConfig(settings))
  if (valid.ok) return undefined
  const problem = valid.error[0] ?? ''
  const [, place = '', message = problem] = /^([^:\s]+): (.*)$/s.exec(problem) ?? []
  const parameter = /^[\w-]+/.exec(message)?.[0] ?? ''
  const profile = /^profiles\.(.+)$/.exec(place)?.[1]
  const mapping = /^metricGroupMappings\[(\d+)\]$/.exec(place)?.[1]
  if (profile !== undefined) return { key: ['profile-config', profile, 'defaults', parameter], message }
  if (mapping !== undefined) return { key: ['metric-group-mappings', Number(mapping)], message }
  if (place === 'token.defaults' && Object.hasOwn(settings['token-config']['token-defaults'], parameter))
    return { key: ['token-config', 'token-defaults', parameter], message }
  if (place === 'defaults') return { key: ['service-description-defaults', parameter], message }
  if (place === 'token.historyLengthMax') return { key: ['token-config', 'history-length'], message }
  if (place === 'token.defaults') return { key: ['instance-request-properties'], message }
  return { key: [], message: problem }
}

function buildServicesConfig(settings: Settings): ServicesConfig {
  const base = createServicesConfig()
  const hostnames = typeof settings.hostname === 'string' ? [settings.hostname] : settings.hostname
  const properties = settings['instance-request-properties']
  return createServicesConfig({
    clusterName: settings['cluster-config'].name,
    servicePrefix: settings['cluster-config']['service-prefix'],
    waiterHostnames: [
      ...new Set([...hostnames, ...LOOPBACK_NAMES, ...ownAddresses(settings)].map(name => name.toLowerCase())),
    ],
    defaults: { ...base.defaults, ...settings['service-description-defaults'] },
    constraints: settings['service-description-constraints'],
    profiles: settings['profile-config'],
    metricGroupMappings: settings['metric-group-mappings'].map(([pattern, group]) => ({ pattern, group })),
    token: {
      ...base.token,
      historyLengthMax: settings['token-config']['history-length'],
      liveTokensPerOwnerMax: settings['token-config']['limit-per-owner'],
      defaults: {
        ...base.token.defaults,
        'queue-timeout-ms': properties['queue-timeout-ms'],
        'socket-timeout-ms': properties['initial-socket-timeout-ms'],
        'streaming-timeout-ms': properties['streaming-timeout-ms'],
        // Judged with everything else, below.
        ...(settings['token-config']['token-defaults'] as Partial<ServicesConfig['token']['defaults']>),
      },
      exclusivePromotionStartTimeMs: Date.parse(settings['token-config']['exclusive-promotion-start-time']),
      clusterByHost: lowerCaseKeys(settings['token-config']['host->cluster']),
    },
    unsupportedHeaders: properties['unsupported-headers'].map(name => name.toLowerCase().replace(/^x-waiter-/, '')),
  })
}

/** The user that everybody is in one-user mode. */
export function oneUserOf(settings: Settings): string {
  return settings['authenticator-config']['one-user']['run-as-user'] ?? userInfo().username
}

/** Who is one user, an administrator, and so on, for the router. */
export function toAuthentication(settings: Settings, clusterSecrets: readonly string[]): AuthenticationSettings {
  const config = settings['authenticator-config']
  return {
    authenticator: toAuthenticator(settings),
    identityProvider: config.jwt && toIdentityProvider(config.jwt),
    secrets: clusterSecrets,
    clusterName: settings['cluster-config'].name,
    cookie: { maxAgeSecs: config.cookie['max-age-secs'], sameSite: config.cookie['same-site'] },
  }
}

function toAuthenticator(settings: Settings): AuthenticatorSpec {
  const config = settings['authenticator-config']
  switch (config.kind) {
    case 'one-user':
      return { kind: 'one-user', principal: oneUserOf(settings) }
    case 'api-keys':
      return {
        kind: 'api-keys',
        keys: config['api-keys'].keys.map(({ user, sha256 }) => ({ principal: user, sha256 })),
      }
    case 'trusted-header':
      return { kind: 'trusted-header', ...config['trusted-header'] }
    case 'jwt':
      return { kind: 'jwt' }
  }
}

/** Users that may do everything. */
export function administratorsOf(settings: Settings): readonly string[] {
  const isOneUser = settings['authenticator-config'].kind === 'one-user'
  return [
    userInfo().username,
    ...(isOneUser ? [userOf(oneUserOf(settings))] : []),
    ...settings['entitlement-config'].simple.administrators,
  ]
}

export function toCors(settings: Settings): CorsSettings {
  const config = settings['cors-config']
  const policy =
    config.kind === 'patterns'
      ? { kind: config.kind, allowedOrigins: config.patterns['allowed-origins'] }
      : { kind: config.kind }
  return { policy, exposedHeaders: config['exposed-headers'], maxAgeSecs: config['max-age'] }
}

function lowerCaseKeys(record: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key.toLowerCase(), value]))
}
