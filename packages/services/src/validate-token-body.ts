import { err, ok, type Result } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import type { ServiceDescription } from './description.ts'
import { mergeDefaults } from './effective-description.ts'
import { pickParameters } from './discover-service.ts'
import { isJsonObject, type JsonObject, ownValue } from './json.ts'
import { CONFIG_TOKEN_VARIABLE, redactEnv } from './resolve-descriptor.ts'
import type { TokenError } from './token.ts'
import { findMetadataProblems } from './token-metadata.ts'
import { tokenError } from './token-name.ts'
import { pickEditable } from './token-record.ts'
import { findMissingRequired, validateDescription } from './validate-description.ts'

/**
 * The editable part of a token body, validated: parameters may be missing, but those that are there must be valid, and
 * some need others (spec §3.3 point 4). All problems are reported at once.
 */
export function validateTokenBody(body: JsonObject, config: ServicesConfig): Result<JsonObject, TokenError> {
  const described = validateDescription(body, { config, missingRequiredAllowed: true })
  const lines: string[] = [...findMetadataProblems(body)]
  const issue: Record<string, string> = {}
  if (described.ok) lines.push(...findCombinationProblems(described.value, body, config))
  else {
    lines.unshift(described.error.friendlyMessage)
    for (const { parameter, message } of described.error.problems)
      if (parameter !== undefined) issue[parameter] = message
  }
  if (lines.length > 0) {
    const friendly = lines.join('\n')
    return err(
      tokenError(400, `Validation failed for token:\n${friendly}`, {
        'friendly-error-message': friendly,
        issue,
        message: 'Validation failed for token',
        'service-description': redactEnv({ ...pickParameters(body as ServiceDescription) }),
        type: 'service-description-error',
      }),
    )
  }
  const parameters: JsonObject = described.ok ? (described.value as JsonObject) : {}
  // Metadata from the body, parameters in their normal form (`allowed-params` is a sorted set).
  return ok({ ...pickEditable(body), ...parameters })
}

function findCombinationProblems(description: ServiceDescription, body: JsonObject, config: ServicesConfig): string[] {
  const lines: string[] = []
  const merged = mergeDefaults(description, config)
  const missing = findMissingRequired(description, config)
  const missingText = `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing.`
  if (merged.authentication === 'disabled') {
    const permitted = description['permitted-user'] ?? profileValue(description, 'permitted-user', config)
    if (permitted !== '*') {
      lines.push('Tokens with authentication disabled must specify permitted-user as *, so that anybody may use them.')
    }
    if (missing.length > 0) {
      lines.push(`Tokens with authentication disabled must specify all required parameters: ${missingText}`)
    }
    if (merged['run-as-user'] === '*') {
      lines.push(
        'Tokens with authentication disabled must specify a concrete run-as-user: there is no requester to run as.',
      )
    }
  }
  if ((merged['interstitial-secs'] ?? 0) > 0 && missing.length > 0) {
    lines.push(`Tokens with interstitial-secs must specify all required parameters: ${missingText}`)
  }
  const setsConfigToken = description.env !== undefined && Object.hasOwn(description.env, CONFIG_TOKEN_VARIABLE)
  if (ownValue(body, 'service-mapping') === 'exclusive' && setsConfigToken) {
    lines.push(`Tokens with service-mapping exclusive cannot set ${CONFIG_TOKEN_VARIABLE} in env: Waiter sets it.`)
  }
  return lines
}

function profileValue(description: ServiceDescription, key: string, config: ServicesConfig): unknown {
  const { profile } = description
  if (profile === undefined || !Object.hasOwn(config.profiles, profile)) return undefined
  const defaults: unknown = config.profiles[profile]!.defaults
  return isJsonObject(defaults) ? ownValue(defaults, key) : undefined
}
