import type { ServiceId } from '@waiter/base'
import {
  createServicesConfig,
  type EffectiveDescription,
  type ServiceDefinition,
  type ServiceDescription,
} from '@waiter/services'

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
  ...createServicesConfig().defaults,
  cmd: 'true',
  cpus: 0.1,
  mem: 256,
  'metric-group': 'other',
  'run-as-user': 'nobody-in-particular',
  version: '1',
}
