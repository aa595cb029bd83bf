import type { AlwaysPresent, ServiceDescription } from './description.ts'

/** Defaults of every parameter that has one; the required five and the inferred metric group have none (spec §2.1). */
export type ServiceDefaults = Readonly<
  Required<
    Pick<
      ServiceDescription,
      Exclude<AlwaysPresent, 'cmd' | 'cpus' | 'mem' | 'run-as-user' | 'version' | 'metric-group'>
    >
  >
>

/** What a deployment decides about descriptions and tokens. Plain data; every pure function here takes it as a parameter. */
export interface ServicesConfig {
  /** This cluster's name: `root` of tokens created here, `WAITER_CLUSTER` of instances. */
  readonly clusterName: string
  /** What every service id begins with, for example `waiter-service-`. */
  readonly servicePrefix: string
  /** Lower-case host names under which Waiter's own API answers; none of them can be a token. */
  readonly waiterHostnames: readonly string[]
  readonly defaults: ServiceDefaults
  /** Upper limits per parameter: of a number its value, of a string its length in characters. */
  readonly constraints: Readonly<Partial<Record<keyof ServiceDescription, { readonly max: number }>>>
  /** Named sets of defaults, chosen with the parameter `profile`. May hold token metadata defaults as well. */
  readonly profiles: Readonly<Record<string, Profile>>
  /** The first mapping whose pattern matches the whole service name gives the metric group. */
  readonly metricGroupMappings: readonly MetricGroupMapping[]
  readonly token: TokenConfig
  /** `x-waiter-*` headers (without the prefix) that end a request with 400. */
  readonly unsupportedHeaders: readonly string[]
}

export interface Profile {
  readonly defaults: Readonly<Record<string, unknown>>
}

export interface MetricGroupMapping {
  readonly pattern: string
  readonly group: string
}

export interface TokenConfig {
  /** How many former versions a token keeps. */
  readonly historyLengthMax: number
  /** Live tokens one owner may have. */
  readonly liveTokensPerOwnerMax: number
  /** Tokens updated after this moment with `service-mapping: default` are treated as `exclusive` (ms since the epoch). */
  readonly exclusivePromotionStartTimeMs: number
  /** Which cluster a token created through this request host belongs to; other hosts: `clusterName`. */
  readonly clusterByHost: Readonly<Record<string, string>>
  readonly defaults: TokenDefaults
}

/** Token metadata that applies when neither token nor profile says otherwise (spec §2.2). */
export interface TokenDefaults {
  readonly 'fallback-period-secs': number
  readonly 'https-redirect': boolean
  readonly 'queue-timeout-ms': number
  readonly 'service-mapping': 'default' | 'exclusive' | 'legacy'
  readonly 'socket-timeout-ms': number
  readonly 'stale-timeout-mins': number
  readonly 'streaming-timeout-ms': number
  readonly 'withdraw-bad-versions': boolean
}

const SERVICE_DEFAULTS: ServiceDefaults = {
  'allowed-params': [],
  authentication: 'standard',
  'backend-proto': 'http',
  'concurrency-level': 1,
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
  metadata: {},
  'min-instances': 1,
  'permitted-user': '*',
  ports: 1,
  'restart-backoff-factor': 2,
  'routing-mode': 'default',
  'scale-down-factor': 0.001,
  'scale-factor': 1,
  'scale-up-factor': 0.1,
  'termination-grace-period-secs': 0,
}

/** 2050-01-01T00:00:00Z: promotion of `default` to `exclusive` is off until a deployment turns it on (spec §1.2 point 7). */
const NEVER_PROMOTE_MS = 2_524_608_000_000

/** The configuration of spec §12, with the given fields replaced. */
export function createServicesConfig(changes: Partial<ServicesConfig> = {}): ServicesConfig {
  return {
    clusterName: 'waiter',
    servicePrefix: 'waiter-service-',
    waiterHostnames: ['localhost', '127.0.0.1', '[::1]'],
    defaults: SERVICE_DEFAULTS,
    constraints: { cmd: { max: 1200 }, cpus: { max: 32 }, mem: { max: 131_072 } },
    profiles: {},
    metricGroupMappings: [],
    token: {
      historyLengthMax: 5,
      liveTokensPerOwnerMax: 1000,
      exclusivePromotionStartTimeMs: NEVER_PROMOTE_MS,
      clusterByHost: {},
      defaults: {
        'fallback-period-secs': 300,
        'https-redirect': false,
        'queue-timeout-ms': 300_000,
        'service-mapping': 'legacy',
        'socket-timeout-ms': 900_000,
        'stale-timeout-mins': 15,
        'streaming-timeout-ms': 20_000,
        'withdraw-bad-versions': true,
      },
    },
    unsupportedHeaders: ['maintenance'],
    ...changes,
  }
}
