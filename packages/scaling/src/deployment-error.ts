import type { InstanceId } from '@waiter/base'

/** Stderr lines of the newest failure that are shown to users. */
const STDERR_LINES_MAX = 10
/** Longer lines are cut, so that an answer stays readable. */
const STDERR_LINE_CHARS_MAX = 300

/** Keys of spec §5.2, in the order in which they are tried. */
export type DeploymentErrorCode =
  | 'not-enough-memory'
  | 'bad-startup-command'
  | 'tls-error'
  | 'cannot-connect'
  | 'health-check-timed-out'
  | 'bad-socket'
  | 'invalid-health-check-response'
  | 'health-check-requires-authentication'

/** The part of a scheduler's instance record that these rules read. */
export interface InstanceFacts {
  readonly instanceId: InstanceId
  readonly host: string
  readonly startedAtMs: number
  readonly endedAtMs: number | null
  readonly flags: readonly string[]
  readonly exitCode: number | null
  readonly healthCheckStatus: number | null
  readonly message: string | null
  readonly stderrTail: string
}

/** The failure that a person would look at first. */
export interface FailureFacts {
  readonly instanceId: InstanceId
  readonly host: string
  readonly endedAtMs: number | null
  readonly exitCode: number | null
  readonly message: string | null
  /** Last lines that it wrote to stderr, oldest first. */
  readonly stderrLines: readonly string[]
}

/** Why no instance of a service gets healthy. */
export interface DeploymentError {
  /** A `DeploymentErrorCode`, or the scheduler's own. */
  readonly code: string
  /** Short and stable; what spec §1.7 puts behind `Deployment error: `. */
  readonly message: string
  /** What to do about it. */
  readonly advice: string
  readonly failedInstances: number
  readonly failedHosts: number
  readonly newestFailure: FailureFacts | null
}

/** How much evidence a deployment error needs. */
export interface DeploymentErrorConfig {
  readonly minFailedInstances: number
  readonly minHosts: number
}

/** One host is enough: a laptop has only one, and two failures there say as much as two elsewhere. */
export const DEFAULT_DEPLOYMENT_ERROR: DeploymentErrorConfig = { minFailedInstances: 2, minHosts: 1 }

export interface DecideDeploymentErrorInput {
  readonly healthy: number
  /** Known failed instances, those stopped on request not among them. */
  readonly failed: readonly InstanceFacts[]
  /** Running, but not passing health checks (starting ones too); the first is asked for its status. */
  readonly unhealthy: readonly InstanceFacts[]
  /** What the scheduler says about the service itself, for example that its image cannot be pulled. */
  readonly schedulerError?: { readonly code: string; readonly message: string; readonly advice: string }
  readonly config: DeploymentErrorConfig
}

/** Says why a service cannot start, or undefined when it can or when it is too early to tell (rules D1 to D10). */
export function decideDeploymentError(input: DecideDeploymentErrorInput): DeploymentError | undefined {
  const finding = input.schedulerError ?? (input.healthy === 0 ? findError(input) : undefined)
  if (finding === undefined) return undefined
  return {
    code: finding.code,
    message: finding.message,
    advice: finding.advice,
    failedInstances: input.failed.length,
    failedHosts: countHosts(input.failed),
    newestFailure: describeNewest(input.failed),
  }
}

/** `not-enough-memory` when any instance was stopped for using too much memory (spec §5.2, rule D11). */
export function decideInstability(failed: readonly InstanceFacts[]): 'not-enough-memory' | undefined {
  return failed.some(instance => instance.flags.includes('memory-limit-exceeded')) ? 'not-enough-memory' : undefined
}

interface Finding {
  readonly code: string
  readonly message: string
  readonly advice: string
}

function findError(input: DecideDeploymentErrorInput): Finding | undefined {
  const { failed, unhealthy, config } = input
  const isEvidenceEnough =
    failed.length > 0 && failed.length >= config.minFailedInstances && countHosts(failed) >= config.minHosts
  const code = isEvidenceEnough ? classify(failed) : undefined
  if (code !== undefined) return { code, ...TEXTS[code] }
  if (unhealthy[0]?.healthCheckStatus !== 401) return undefined
  const last = 'health-check-requires-authentication'
  return { code: last, ...TEXTS[last] }
}

/** First match wins. */
function classify(failed: readonly InstanceFacts[]): DeploymentErrorCode | undefined {
  const all = (flag: string): boolean => failed.every(instance => instance.flags.includes(flag))
  const none = (flag: string): boolean => !failed.some(instance => instance.flags.includes(flag))
  const exitCode = failed[0]?.exitCode ?? null
  if (all('memory-limit-exceeded')) return 'not-enough-memory'
  if (exitCode !== null && failed.every(instance => instance.exitCode === exitCode)) return 'bad-startup-command'
  if (all('ssl-exception')) return 'tls-error'
  if (none('has-connected')) return 'cannot-connect'
  if (none('has-responded')) return all('timeout-exception') ? 'health-check-timed-out' : 'bad-socket'
  if (all('never-passed-health-checks')) return 'invalid-health-check-response'
  return undefined
}

const TEXTS: Readonly<Record<DeploymentErrorCode, { readonly message: string; readonly advice: string }>> = {
  'not-enough-memory': {
    message: 'Not enough memory allocated',
    advice: 'Raise mem, or make the service use less.',
  },
  'bad-startup-command': {
    message: 'Invalid startup command',
    advice: 'All instances ended with the same exit code. Run cmd by hand and read its output.',
  },
  'tls-error': {
    message: 'TLS error during health checks',
    advice: 'Check that backend-proto and health-check-proto are what the service speaks, and its certificate.',
  },
  'cannot-connect': {
    message: 'Unable to connect to run health checks',
    advice: 'Make the service listen on the port given in the environment variable PORT0, on all interfaces.',
  },
  'health-check-timed-out': {
    message: 'Health check timed out',
    advice: 'Make the health check answer faster, or raise grace-period-secs.',
  },
  'bad-socket': {
    message: 'The connection was closed before the health check was answered',
    advice: 'Check that the service speaks backend-proto on the port in PORT0.',
  },
  'invalid-health-check-response': {
    message: 'The health check never answered with a 2xx status',
    advice: 'Check health-check-url, and what the service answers there.',
  },
  'health-check-requires-authentication': {
    message: 'The health check requires authentication',
    advice: 'Set health-check-authentication to standard, or let health-check-url answer without credentials.',
  },
}

function countHosts(instances: readonly InstanceFacts[]): number {
  return new Set(instances.map(instance => instance.host)).size
}

function describeNewest(failed: readonly InstanceFacts[]): FailureFacts | null {
  let newest: InstanceFacts | undefined
  for (const instance of failed) if (newest === undefined || ageOf(instance) > ageOf(newest)) newest = instance
  if (newest === undefined) return null
  const { instanceId, host, endedAtMs, exitCode, message, stderrTail } = newest
  const lines = stderrTail.split(/\r?\n/).filter(line => line.trim() !== '')
  const stderrLines = lines.slice(-STDERR_LINES_MAX).map(line => line.slice(0, STDERR_LINE_CHARS_MAX))
  return { instanceId, host, endedAtMs, exitCode, message, stderrLines }
}

function ageOf(instance: InstanceFacts): number {
  return instance.endedAtMs ?? instance.startedAtMs
}
