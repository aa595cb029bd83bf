import type { ServiceId } from '@waiter/base'

/** Protocols that Waiter can speak to an instance (spec §2.1 `backend-proto`). */
export type BackendProto = 'http' | 'https' | 'h2' | 'h2c'

/**
 * What a user says about a service: any subset of the parameters of spec §2.1, under their wire names, so that JSON
 * goes in and out unchanged. The *core* description is this after token and header merge; its hash is the service id.
 */
export interface ServiceDescription {
  readonly 'allowed-params'?: readonly string[]
  readonly authentication?: string
  readonly 'backend-proto'?: BackendProto
  readonly cmd?: string
  readonly 'cmd-type'?: string
  readonly 'concurrency-level'?: number
  readonly cpus?: number
  readonly 'distribution-scheme'?: 'balanced' | 'simple'
  readonly env?: Readonly<Record<string, string>>
  readonly 'expired-instance-restart-rate'?: number
  readonly 'grace-period-secs'?: number
  readonly 'health-check-authentication'?: 'disabled' | 'standard'
  readonly 'health-check-interval-secs'?: number
  readonly 'health-check-max-consecutive-failures'?: number
  readonly 'health-check-port-index'?: number
  readonly 'health-check-proto'?: BackendProto | null
  readonly 'health-check-url'?: string
  readonly 'idle-timeout-mins'?: number
  readonly image?: string
  readonly 'instance-expiry-mins'?: number
  readonly 'interstitial-secs'?: number
  readonly 'jitter-threshold'?: number
  readonly 'liveness-check-authentication'?: 'disabled' | 'standard'
  readonly 'liveness-check-interval-secs'?: number
  readonly 'liveness-check-max-consecutive-failures'?: number
  readonly 'liveness-check-port-index'?: number
  readonly 'liveness-check-proto'?: BackendProto | null
  readonly 'liveness-check-url'?: string
  readonly 'load-balancing'?: 'oldest' | 'youngest' | 'random' | 'least-loaded'
  readonly 'max-instances'?: number
  readonly 'max-queue-length'?: number
  readonly mem?: number
  readonly metadata?: Readonly<Record<string, string>>
  readonly 'metric-group'?: string
  readonly 'min-instances'?: number
  readonly name?: string
  readonly namespace?: string
  readonly 'permitted-user'?: string
  readonly ports?: number
  readonly profile?: string
  readonly 'restart-backoff-factor'?: number
  readonly 'routing-mode'?: string
  readonly 'run-as-user'?: string
  readonly 'scale-down-factor'?: number
  readonly 'scale-factor'?: number
  readonly 'scale-up-factor'?: number
  readonly scheduler?: string
  readonly 'termination-grace-period-secs'?: number
  readonly version?: string
}

/** Parameters that a validated, defaulted description always has (spec §2.1, §2.3). */
export type AlwaysPresent =
  | 'allowed-params'
  | 'authentication'
  | 'backend-proto'
  | 'cmd'
  | 'concurrency-level'
  | 'cpus'
  | 'distribution-scheme'
  | 'env'
  | 'expired-instance-restart-rate'
  | 'grace-period-secs'
  | 'health-check-authentication'
  | 'health-check-interval-secs'
  | 'health-check-max-consecutive-failures'
  | 'health-check-port-index'
  | 'health-check-proto'
  | 'health-check-url'
  | 'idle-timeout-mins'
  | 'instance-expiry-mins'
  | 'interstitial-secs'
  | 'jitter-threshold'
  | 'load-balancing'
  | 'max-instances'
  | 'max-queue-length'
  | 'mem'
  | 'metadata'
  | 'metric-group'
  | 'min-instances'
  | 'permitted-user'
  | 'ports'
  | 'restart-backoff-factor'
  | 'routing-mode'
  | 'run-as-user'
  | 'scale-down-factor'
  | 'scale-factor'
  | 'scale-up-factor'
  | 'termination-grace-period-secs'
  | 'version'

/** Core description plus defaults, profile and overrides: what the scheduler, scaler and router work from. */
export type EffectiveDescription = ServiceDescription & {
  readonly [Key in AlwaysPresent]-?: Exclude<ServiceDescription[Key], undefined>
}

/** One immutable service: its id, what the user said, and what follows from it. Plain JSON. */
export interface ServiceDefinition {
  readonly id: ServiceId
  readonly core: ServiceDescription
  readonly effective: EffectiveDescription
}
