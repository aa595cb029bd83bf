import type { ServiceId } from '@waiter/base'
import type { EffectiveDescription, ServiceDefinition, ServiceDescription } from '@waiter/services'

/** A complete service definition for tests, with the documented defaults (spec §2.1) and `changes` on top. */
export function createExampleDefinition(
  id: ServiceId,
  cmd: string,
  changes: ServiceDescription = {},
): ServiceDefinition {
  const core: ServiceDescription = { cmd, cpus: 0.1, mem: 256, 'run-as-user': 'nobody-in-particular', version: '1' }
  return { id, core: { ...core, ...changes }, effective: { ...DEFAULTS, cmd, ...withoutUndefined(changes) } }
}

function withoutUndefined(changes: ServiceDescription): Partial<EffectiveDescription> {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined))
}

const DEFAULTS: EffectiveDescription = {
  'allowed-params': [],
  authentication: 'standard',
  'backend-proto': 'http',
  cmd: 'true',
  'concurrency-level': 1,
  cpus: 0.1,
  'distribution-scheme': 'balanced',
  env: {},
  'expired-instance-restart-rate': 0.1,
  'grace-period-secs': 30,
  'health-check-authentication': 'disabled',
  'health-check-interval-secs': 10,
  'health-check-max-consecutive-failures': 5,
  'health-check-port-index': 0,
  'health-check-proto': null,
  'health-check-url': '/status',
  'idle-timeout-mins': 30,
  'instance-expiry-mins': 7200,
  'interstitial-secs': 0,
  'jitter-threshold': 0.5,
  'load-balancing': 'oldest',
  'max-instances': 500,
  'max-queue-length': 1_000_000,
  mem: 256,
  metadata: {},
  'metric-group': 'other',
  'min-instances': 1,
  'permitted-user': '*',
  ports: 1,
  'restart-backoff-factor': 2,
  'routing-mode': 'default',
  'run-as-user': 'nobody-in-particular',
  'scale-down-factor': 0.001,
  'scale-factor': 1,
  'scale-up-factor': 0.1,
  'termination-grace-period-secs': 0,
  version: '1',
}
