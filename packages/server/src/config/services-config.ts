import { userInfo } from 'node:os'
import { WaiterError } from '@waiter/base'
import { createServicesConfig, type ServicesConfig, validateServicesConfig } from '@waiter/services'
import type { Settings } from './schema.ts'

/** Names under which a router is always reached for its own API. */
const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]']

/**
 * What the pure rules of services and tokens need of the configuration.
 *
 * @throws WaiterError WTR_CONFIG when defaults or profiles break those rules
 */
export function toServicesConfig(settings: Settings): ServicesConfig {
  const base = createServicesConfig()
  const hostnames = typeof settings.hostname === 'string' ? [settings.hostname] : settings.hostname
  const properties = settings['instance-request-properties']
  const config = createServicesConfig({
    clusterName: settings['cluster-config'].name,
    servicePrefix: settings['cluster-config']['service-prefix'],
    waiterHostnames: [...new Set([...hostnames, ...LOOPBACK_NAMES].map(name => name.toLowerCase()))],
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
      },
    },
    unsupportedHeaders: properties['unsupported-headers'].map(name => name.toLowerCase().replace(/^x-waiter-/, '')),
  })
  const valid = validateServicesConfig(config)
  if (valid.ok) return config
  throw new WaiterError(`the configuration is not valid: ${valid.error.join('; ')}`, { code: 'WTR_CONFIG' })
}

/** The user that everybody is in one-user mode. */
export function oneUserOf(settings: Settings): string {
  return settings['authenticator-config']['one-user']['run-as-user'] ?? userInfo().username
}
