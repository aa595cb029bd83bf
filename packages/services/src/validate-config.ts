import { err, ok, type Result } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import type { JsonObject } from './json.ts'
import { listed } from './map-checks.ts'
import { compilePattern } from './pattern.ts'
import { findMetadataProblems } from './token-metadata.ts'
import { editableKeys } from './token-record.ts'
import { validateDescription } from './validate-description.ts'

/**
 * Judges a deployment's configuration once, at the start: defaults, profiles, metric groups, history length. Everything else in
 * this package relies on it.
 *
 * @returns every problem as a sentence that names the place in the configuration
 */
export function validateServicesConfig(config: ServicesConfig): Result<undefined, readonly string[]> {
  const problems = [
    ...findDefaultsProblems(config),
    ...Object.entries(config.profiles).flatMap(([name, { defaults }]) => findProfileProblems(name, defaults, config)),
    ...config.metricGroupMappings.flatMap(({ pattern }, index) => {
      const compiled = compilePattern(pattern)
      return compiled.ok ? [] : [`metricGroupMappings[${index}]: the pattern ${compiled.error}`]
    }),
    ...findMetadataProblems(config.token.defaults as unknown as JsonObject).map(line => `token.defaults: ${line}`),
  ]
  const { historyLengthMax } = config.token
  if (!Number.isInteger(historyLengthMax) || historyLengthMax < 0 || historyLengthMax > HISTORY_LENGTH_LIMIT) {
    problems.push(`token.historyLengthMax: must be an integer between 0 and ${HISTORY_LENGTH_LIMIT} (inclusive).`)
  }
  return problems.length === 0 ? ok(undefined) : err(problems)
}

/** A token's value holds its whole history, and values of the store are bounded. */
const HISTORY_LENGTH_LIMIT = 10

function findDefaultsProblems(config: ServicesConfig): string[] {
  const validated = validateDescription(config.defaults as unknown as JsonObject, {
    config,
    missingRequiredAllowed: true,
  })
  return validated.ok ? [] : validated.error.problems.map(({ message }) => `defaults: ${message}`)
}

function findProfileProblems(name: string, defaults: JsonObject, config: ServicesConfig): string[] {
  const where = `profiles.${name}`
  const unknown = Object.keys(defaults).filter(key => key === 'profile' || !editableKeys().includes(key))
  if (unknown.length > 0) return [`${where}: has keys that a profile cannot give: ${listed(unknown)}.`]
  const validated = validateDescription(defaults, { config, missingRequiredAllowed: true })
  return [
    ...(validated.ok ? [] : validated.error.problems.map(({ message }) => `${where}: ${message}`)),
    ...findMetadataProblems(defaults).map(line => `${where}: ${line}`),
  ]
}
