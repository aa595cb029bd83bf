import type { ServicesConfig, TokenDefaults } from './config.ts'
import { isJsonObject, type JsonObject, ownValue } from './json.ts'
import { compilePattern } from './pattern.ts'
import type { PreviousToken, TokenSystemMetadata, TokenUserMetadata } from './token.ts'
import { checkTrafficSplit } from './traffic-split.ts'
import { booleanValue, integerBetween, nameText, oneOf, type ValueCheck } from './value-checks.ts'

const USER_CHARS_MAX = 256
const TIMEOUT_MS_MAX = 3_600_000
const MAINTENANCE_CHARS_MAX = 512
const CORS_RULES_MAX = 32

/** Token metadata that users may set, with its checks (spec §2.2). */
export const USER_METADATA: Readonly<Record<keyof TokenUserMetadata, ValueCheck>> = {
  'cors-rules': checkCorsRules,
  editor: nameText(USER_CHARS_MAX),
  'fallback-period-secs': integerBetween(0, 86_400),
  'https-redirect': booleanValue,
  maintenance: checkMaintenance,
  owner: nameText(USER_CHARS_MAX),
  'queue-timeout-ms': integerBetween(0, TIMEOUT_MS_MAX),
  'service-mapping': oneOf(['default', 'exclusive', 'legacy']),
  'socket-timeout-ms': integerBetween(0, TIMEOUT_MS_MAX),
  'stale-timeout-mins': integerBetween(0, 240),
  'streaming-timeout-ms': integerBetween(0, TIMEOUT_MS_MAX),
  'traffic-split': checkTrafficSplit,
  'withdraw-bad-versions': booleanValue,
}

/** Token metadata that only Waiter or an administrator sets. */
export const SYSTEM_METADATA: readonly (keyof TokenSystemMetadata | 'previous')[] = [
  'cluster',
  'deleted',
  'last-update-time',
  'last-update-user',
  'previous',
  'root',
]

/** Sentences about everything that is wrong with the user metadata in a token body. */
export function findMetadataProblems(body: JsonObject): readonly string[] {
  const lines: string[] = []
  for (const [name, check] of Object.entries(USER_METADATA)) {
    const value = ownValue(body, name)
    const problem = value === undefined ? undefined : check(value, name)
    if (problem !== undefined) lines.push(problem)
  }
  return lines
}

/** Metadata that governs a request, with profile and defaults filled in. */
export type EffectiveTokenMetadata = TokenUserMetadata & TokenDefaults

/** defaults ⊕ profile ⊕ the tokens' merged metadata (spec §2.3). */
export function computeTokenMetadata(merged: PreviousToken, config: ServicesConfig): EffectiveTokenMetadata {
  const profile = merged.profile
  const profileDefaults =
    profile !== undefined && Object.hasOwn(config.profiles, profile) ? config.profiles[profile]!.defaults : {}
  const metadata: Record<string, unknown> = { ...config.token.defaults }
  for (const source of [profileDefaults, merged as JsonObject]) {
    for (const name of Object.keys(USER_METADATA)) {
      const value = ownValue(source, name)
      if (value !== undefined) metadata[name] = value
    }
  }
  // Tokens and profiles were validated when they were written.
  return metadata as unknown as EffectiveTokenMetadata
}

function checkMaintenance(value: unknown, name: string): string | undefined {
  const message = isJsonObject(value) ? ownValue(value, 'message') : undefined
  const isValid =
    isJsonObject(value) &&
    Object.keys(value).length === 1 &&
    typeof message === 'string' &&
    message.trim() !== '' &&
    message.length <= MAINTENANCE_CHARS_MAX
  return isValid
    ? undefined
    : `${name} must be a map with the single key message, a non-empty string of at most ${MAINTENANCE_CHARS_MAX} characters.`
}

const CORS_RULE_KEYS = ['methods', 'origin-regex', 'target-path-regex']

function checkCorsRules(value: unknown, name: string): string | undefined {
  if (!Array.isArray(value)) return `${name} must be a list of rules.`
  if (value.length > CORS_RULES_MAX) return `${name} must have at most ${CORS_RULES_MAX} rules.`
  const problems = value.map((rule, index) => findCorsRuleProblem(rule, `${name}[${index}]`))
  const lines = problems.filter(problem => problem !== undefined)
  return lines.length > 0 ? lines.join('\n') : undefined
}

function findCorsRuleProblem(rule: unknown, where: string): string | undefined {
  if (!isJsonObject(rule))
    return `${where} must be a map with origin-regex and optionally target-path-regex and methods.`
  const unknown = Object.keys(rule).find(key => !CORS_RULE_KEYS.includes(key))
  if (unknown !== undefined) return `${where} may only have the keys ${CORS_RULE_KEYS.join(', ')}.`
  const origin = findRegexProblem(ownValue(rule, 'origin-regex'), `${where}.origin-regex`)
  if (origin !== undefined) return origin
  const path = ownValue(rule, 'target-path-regex')
  const pathProblem = path === undefined ? undefined : findRegexProblem(path, `${where}.target-path-regex`)
  if (pathProblem !== undefined) return pathProblem
  const methods = ownValue(rule, 'methods')
  if (methods === undefined) return undefined
  const isValid =
    Array.isArray(methods) &&
    methods.length > 0 &&
    methods.length <= 32 &&
    methods.every(method => typeof method === 'string' && /^[A-Z]{1,32}$/.test(method))
  return isValid ? undefined : `${where}.methods must be a non-empty list of upper-case HTTP methods.`
}

function findRegexProblem(value: unknown, where: string): string | undefined {
  if (typeof value !== 'string' || value === '') return `${where} must be a regular expression.`
  const pattern = compilePattern(value)
  return pattern.ok ? undefined : `${where} is not a supported regular expression: it ${pattern.error}`
}
