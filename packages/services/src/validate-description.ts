import { err, ok, type Result } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import type { ServiceDescription } from './description.ts'
import { mergeDefaults } from './effective-description.ts'
import { type JsonObject, ownValue, sortedCopy } from './json.ts'
import { listed } from './map-checks.ts'
import { PARAMETERS, type ParameterName } from './parameters.ts'

/** One thing that is wrong. `parameter` is undefined when several take part. */
export interface DescriptionProblem {
  readonly parameter: ParameterName | undefined
  /** Whole sentences for the user, one a line. */
  readonly message: string
}

/** Everything that is wrong with a description. */
export interface DescriptionProblems {
  readonly problems: readonly DescriptionProblem[]
  /** The sentences, one a line. */
  readonly friendlyMessage: string
}

export interface ValidationOptions {
  readonly config: ServicesConfig
  /** True for tokens, which may be partial and may say `run-as-user: "*"`. */
  readonly missingRequiredAllowed: boolean
}

/**
 * Turns unknown input into a description: only known parameters, nested maps sorted, sets sorted. Limits that involve
 * several parameters are judged with defaults and profile filled in, as they will apply.
 *
 * @returns all problems at once, so that a user mends a description in one round
 */
export function validateDescription(
  input: JsonObject,
  options: ValidationOptions,
): Result<ServiceDescription, DescriptionProblems> {
  const { config, missingRequiredAllowed } = options
  const problems: DescriptionProblem[] = []
  const valid: Record<string, unknown> = {}
  for (const rule of PARAMETERS) {
    const value = ownValue(input, rule.name)
    if (value === undefined) continue
    const problem = rule.check(value, rule.name)
    if (problem === undefined) valid[rule.name] = normalise(rule.name, value)
    else problems.push({ parameter: rule.name, message: problem })
  }
  const profileProblem = findProfileProblem(valid, config)
  if (profileProblem !== undefined) problems.push(profileProblem)
  const description = valid as ServiceDescription
  const merged = mergeDefaults(description, config)
  if (!missingRequiredAllowed) problems.push(...findMissing(input, merged))
  problems.push(...findExceeded(merged, config), ...findConflicts(merged))
  return problems.length === 0 ? ok(description) : err(describeProblems(problems))
}

/** Which required parameters neither the description nor its profile gives. */
export function findMissingRequired(description: ServiceDescription, config: ServicesConfig): readonly ParameterName[] {
  const merged = mergeDefaults(description, config)
  return PARAMETERS.filter(rule => rule.isRequired && merged[rule.name] === undefined).map(rule => rule.name)
}

/** Makes the lines of an error answer. */
export function describeProblems(problems: readonly DescriptionProblem[]): DescriptionProblems {
  return { problems, friendlyMessage: problems.map(problem => problem.message).join('\n') }
}

function normalise(name: ParameterName, value: unknown): unknown {
  if (name === 'allowed-params') return [...new Set(value as string[])].sort()
  return sortedCopy(value)
}

function findProfileProblem(valid: JsonObject, config: ServicesConfig): DescriptionProblem | undefined {
  const profile = valid.profile
  if (typeof profile !== 'string' || Object.hasOwn(config.profiles, profile)) return undefined
  const names = Object.keys(config.profiles)
  const supported = names.length === 0 ? 'none' : [...names].sort().join(', ')
  return {
    parameter: 'profile',
    message: `Unsupported profile: ${listed([profile])}, supported profile(s) are ${supported}`,
  }
}

function findMissing(input: JsonObject, merged: ServiceDescription): DescriptionProblem[] {
  return PARAMETERS.filter(
    rule => rule.isRequired && merged[rule.name] === undefined && ownValue(input, rule.name) === undefined,
  ).map(rule => ({
    parameter: rule.name,
    message: `${rule.check(undefined, rule.name)} It is required, but missing.`,
  }))
}

function findExceeded(merged: ServiceDescription, config: ServicesConfig): DescriptionProblem[] {
  const numbers: string[] = []
  const texts: string[] = []
  for (const { name } of PARAMETERS) {
    const max = config.constraints[name]?.max
    const value = merged[name]
    if (max === undefined) continue
    if (typeof value === 'number' && value > max) numbers.push(`${name} is ${value} but the max allowed is ${max}`)
    if (typeof value === 'string' && value.length > max) texts.push(`${name} must be at most ${max} characters`)
  }
  const parts = [...numbers, ...texts]
  if (parts.length === 0) return []
  return [{ parameter: undefined, message: `The following fields exceed their allowed limits: ${parts.join(', ')}` }]
}

function findConflicts(merged: ServiceDescription): DescriptionProblem[] {
  const messages: string[] = []
  const min = merged['min-instances']
  const max = merged['max-instances']
  if (min !== undefined && max !== undefined && min > max) {
    messages.push(`min-instances (${min}) must be less than or equal to max-instances (${max})`)
  }
  messages.push(...findCheckConflicts(merged, 'health-check', 'health check'))
  messages.push(...findCheckConflicts(merged, 'liveness-check', 'liveness check'))
  const namespace = merged.namespace
  if (namespace !== undefined && namespace !== '*' && namespace !== merged['run-as-user']) {
    const isRunAsRequester = merged['run-as-user'] === '*'
    messages.push(
      isRunAsRequester
        ? 'Cannot use run-as-requester with a specific namespace'
        : 'Service namespace must either be omitted or match the run-as-user.',
    )
  }
  return messages.map(message => ({ parameter: undefined, message }))
}

function findCheckConflicts(
  merged: ServiceDescription,
  kind: 'health-check' | 'liveness-check',
  words: string,
): string[] {
  const messages: string[] = []
  const portIndex = merged[`${kind}-port-index`] ?? merged['health-check-port-index'] ?? 0
  const ports = merged.ports ?? 1
  const isTwinSilent = kind === 'liveness-check' && merged['liveness-check-port-index'] === undefined
  if (portIndex >= ports && !isTwinSilent) {
    messages.push(`The ${words} port index (${portIndex}) must be smaller than ports (${ports})`)
  }
  const proto = merged[`${kind}-proto`]
  const backendProto = merged['backend-proto']
  if (proto != null && portIndex === 0 && proto !== backendProto) {
    messages.push(
      `The backend-proto (${backendProto}) and ${words} proto (${proto}) must match when ${kind}-port-index is zero`,
    )
  }
  if (merged[`${kind}-authentication`] === 'standard' && merged.authentication === 'disabled') {
    messages.push(`The ${words} authentication (standard) cannot be enabled when authentication (disabled) is disabled`)
  }
  return messages
}
