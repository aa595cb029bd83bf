import type { ServiceDescription } from './description.ts'
import { checkAllowedParams, checkEnv, checkMetadata } from './map-checks.ts'
import {
  integerBetween,
  integerFrom,
  nameText,
  nonBlankText,
  numberWhere,
  oneOf,
  oneOfOrNull,
  type ValueCheck,
} from './value-checks.ts'

/** A parameter of a service description under its wire name. */
export type ParameterName = keyof ServiceDescription

/** What is to know about one service parameter (spec §2.1). Its default is in the configuration. */
export interface ParameterRule {
  readonly name: ParameterName
  readonly isRequired: boolean
  /** May an override change it without making a new service? */
  readonly isOverridable: boolean
  /** Its header's value is taken as it is; other headers are parsed as JSON. */
  readonly isTextHeader: boolean
  readonly check: ValueCheck
}

const PROTOS = ['http', 'https', 'h2', 'h2c']
const AUTHENTICATIONS = ['disabled', 'standard']
const ROUTING_MODES = ['default', 'waiter-router', 'headless', 'ingress-distributed', 'ingress-centralized']
const NAME_CHARS_MAX = 256
const IMAGE_CHARS_MAX = 1024

const positive = numberWhere(value => value > 0, 'a positive number')
const openFraction = numberWhere(value => value > 0 && value < 1, 'a number greater than 0 and less than 1')

/** Every service parameter, in alphabetical order. */
export const PARAMETERS: readonly ParameterRule[] = [
  text('allowed-params', checkAllowedParams),
  text('authentication', nameText(NAME_CHARS_MAX), 'overridable'),
  text('backend-proto', oneOf(PROTOS)),
  text('cmd', nonBlankText(), 'required'),
  text('cmd-type', checkCommandType),
  json('concurrency-level', integerBetween(1, 10_000), 'overridable'),
  json('cpus', positive, 'required'),
  text('distribution-scheme', oneOf(['balanced', 'simple']), 'overridable'),
  json('env', checkEnv),
  json(
    'expired-instance-restart-rate',
    numberWhere(value => value > 0 && value <= 1, 'a number greater than 0 and at most 1'),
    'overridable',
  ),
  json('grace-period-secs', integerBetween(0, 3600), 'overridable'),
  ...healthParameters('health-check'),
  json('idle-timeout-mins', integerBetween(0, 43_200), 'overridable'),
  text('image', nameText(IMAGE_CHARS_MAX)),
  json('instance-expiry-mins', integerFrom(0), 'overridable'),
  json('interstitial-secs', integerBetween(0, 3600), 'overridable'),
  json(
    'jitter-threshold',
    numberWhere(value => value >= 0 && value < 1, 'a number from 0 to less than 1'),
    'overridable',
  ),
  ...healthParameters('liveness-check'),
  text('load-balancing', oneOf(['oldest', 'youngest', 'random', 'least-loaded']), 'overridable'),
  json('max-instances', integerBetween(1, 2000), 'overridable'),
  json('max-queue-length', integerFrom(1), 'overridable'),
  json('mem', positive, 'required'),
  json('metadata', checkMetadata),
  text('metric-group', checkMetricGroup),
  json('min-instances', integerBetween(1, 2000), 'overridable'),
  text('name', nameText(NAME_CHARS_MAX)),
  text('namespace', nameText(NAME_CHARS_MAX)),
  text('permitted-user', nameText(NAME_CHARS_MAX)),
  json('ports', integerBetween(1, 10)),
  text('profile', nameText(NAME_CHARS_MAX)),
  json(
    'restart-backoff-factor',
    numberWhere(value => value >= 1, 'a number that is at least 1'),
    'overridable',
  ),
  text('routing-mode', oneOf(ROUTING_MODES)),
  text('run-as-user', nameText(NAME_CHARS_MAX), 'required'),
  json('scale-down-factor', openFraction, 'overridable'),
  json(
    'scale-factor',
    numberWhere(value => value > 0 && value <= 2, 'a number greater than 0 and at most 2'),
    'overridable',
  ),
  json('scale-up-factor', openFraction, 'overridable'),
  text('scheduler', nameText(NAME_CHARS_MAX)),
  json('termination-grace-period-secs', integerBetween(0, 300), 'overridable'),
  text('version', nameText(NAME_CHARS_MAX), 'required'),
]

const ruleByName: ReadonlyMap<string, ParameterRule> = new Map(PARAMETERS.map(rule => [rule.name, rule]))

/** The rule of a parameter; undefined when there is no parameter of that name. */
export function findParameter(name: string): ParameterRule | undefined {
  return ruleByName.get(name)
}

type Trait = 'required' | 'overridable'

function text(name: ParameterName, check: ValueCheck, trait?: Trait): ParameterRule {
  return { name, check, isTextHeader: true, isRequired: trait === 'required', isOverridable: trait === 'overridable' }
}

function json(name: ParameterName, check: ValueCheck, trait?: Trait): ParameterRule {
  return { ...text(name, check, trait), isTextHeader: false }
}

function healthParameters(kind: 'health-check' | 'liveness-check'): ParameterRule[] {
  return [
    text(`${kind}-authentication`, oneOf(AUTHENTICATIONS)),
    json(`${kind}-interval-secs`, integerBetween(5, 600), 'overridable'),
    json(`${kind}-max-consecutive-failures`, integerBetween(1, 36), 'overridable'),
    json(`${kind}-port-index`, integerBetween(0, 9)),
    text(`${kind}-proto`, oneOfOrNull(PROTOS)),
    text(`${kind}-url`, checkUrlPath),
  ]
}

function checkCommandType(value: unknown, name: string): string | undefined {
  const problem = nameText(NAME_CHARS_MAX)(value, name)
  if (problem !== undefined) return problem
  return value === 'shell' || value === 'docker' ? undefined : `Command type ${value} is not supported`
}

const METRIC_GROUP = /^[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*$/

function checkMetricGroup(value: unknown, name: string): string | undefined {
  const isValid = typeof value === 'string' && value.length >= 2 && value.length <= 32 && METRIC_GROUP.test(value)
  if (isValid) return undefined
  return `${name} must be 2 to 32 characters: lower-case letters and digits, first a letter, with single _ or - between.`
}

const URL_CHARS_MAX = 2048

/** It becomes the target of a request line, so nothing may end that line. */
function checkUrlPath(value: unknown, name: string): string | undefined {
  const isValid = typeof value === 'string' && value.length <= URL_CHARS_MAX && /^\/[\x21-\x7e]*$/.test(value)
  if (isValid) return undefined
  return `${name} must be a path: / and visible ASCII characters (percent-encode others), at most ${URL_CHARS_MAX}.`
}
