import type { ServicesConfig } from './config.ts'
import type { EffectiveDescription, ServiceDescription } from './description.ts'
import { PARAMETERS } from './parameters.ts'
import { compilePattern } from './pattern.ts'

/** Parameters that may be changed for a live service (spec §4.4), as validated by `validateOverrides`. */
export type ServiceOverrides = ServiceDescription

/**
 * defaults ⊕ profile ⊕ core: later ones win, `env` and `metadata` merge key by key. A maximum below the default
 * minimum lowers that minimum (spec §2.3).
 */
export function mergeDefaults(core: ServiceDescription, config: ServicesConfig): ServiceDescription {
  const profile = profileParameters(core.profile, config)
  const merged: ServiceDescription = {
    ...config.defaults,
    ...profile,
    ...core,
    env: { ...config.defaults.env, ...profile.env, ...core.env },
    metadata: { ...config.defaults.metadata, ...profile.metadata, ...core.metadata },
  }
  const saidMin = core['min-instances'] ?? profile['min-instances']
  const max = merged['max-instances']
  if (saidMin !== undefined || max === undefined || max >= config.defaults['min-instances']) return merged
  return { ...merged, 'min-instances': Math.max(1, max) }
}

/**
 * What scheduler, scaler and router work from: a *validated* core description with defaults, profile, inferred metric
 * group and liveness checks, and the service's overrides on top.
 */
export function computeEffectiveDescription(
  core: ServiceDescription,
  config: ServicesConfig,
  overrides: ServiceOverrides = {},
): EffectiveDescription {
  const merged = mergeDefaults(core, config)
  // A validated core has the five required parameters, and the defaults have every other one.
  return {
    ...merged,
    'metric-group': merged['metric-group'] ?? inferMetricGroup(merged.name, config),
    'liveness-check-authentication': merged['liveness-check-authentication'] ?? merged['health-check-authentication'],
    'liveness-check-interval-secs': merged['liveness-check-interval-secs'] ?? merged['health-check-interval-secs'],
    'liveness-check-max-consecutive-failures':
      merged['liveness-check-max-consecutive-failures'] ?? merged['health-check-max-consecutive-failures'],
    'liveness-check-port-index': merged['liveness-check-port-index'] ?? merged['health-check-port-index'],
    'liveness-check-proto':
      merged['liveness-check-proto'] === undefined ? merged['health-check-proto'] : merged['liveness-check-proto'],
    'liveness-check-url': merged['liveness-check-url'] ?? merged['health-check-url'],
    ...overrides,
  } as EffectiveDescription
}

const OTHER_METRIC_GROUP = 'other'

/** The group of the first mapping whose pattern matches the whole name, else `other`. */
export function inferMetricGroup(name: string | undefined, config: ServicesConfig): string {
  if (name === undefined) return OTHER_METRIC_GROUP
  for (const mapping of config.metricGroupMappings) {
    const pattern = compilePattern(mapping.pattern)
    if (pattern.ok && pattern.value.matches(name)) return mapping.group
  }
  return OTHER_METRIC_GROUP
}

function profileParameters(name: string | undefined, config: ServicesConfig): ServiceDescription {
  if (name === undefined || !Object.hasOwn(config.profiles, name)) return {}
  const defaults = config.profiles[name]!.defaults
  const parameters: Record<string, unknown> = {}
  for (const { name: parameter } of PARAMETERS) {
    if (Object.hasOwn(defaults, parameter)) parameters[parameter] = defaults[parameter]
  }
  // `validateServicesConfig` has checked the profile's values.
  return parameters as ServiceDescription
}
