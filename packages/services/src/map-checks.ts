import { isJsonObject } from './json.ts'
import type { ValueCheck } from './value-checks.ts'

const ENV_NAME = /^[A-Za-z][A-Za-z0-9_]*$/
const METADATA_NAME = /^[a-z][a-z0-9-]*$/
const KEY_CHARS_MAX = 512
const ENV_VALUE_CHARS_MAX = 512
const METADATA_VALUE_CHARS_MAX = 999
const ENTRIES_MAX = 99
const RESERVED_ENV_NAME = /^(?:HOME|LOGNAME|USER|MARATHON_.*|MESOS_.*|PORT\d*|WAITER_(?!CONFIG_).*)$/

/** Would Waiter or a scheduler overwrite this variable? Then users may not set it (spec §2.1). */
export function isReservedEnvName(name: string): boolean {
  return RESERVED_ENV_NAME.test(name)
}

/** `env`: names, values, reserved names and the number of entries, all problems at once. */
export const checkEnv: ValueCheck = checkMap({
  isKey: key => ENV_NAME.test(key) && key.length <= KEY_CHARS_MAX,
  keyRule: `A key starts with a letter, has only letters, digits and underscores, and at most ${KEY_CHARS_MAX} characters.`,
  isValue: text => text.length >= 1 && text.length <= ENV_VALUE_CHARS_MAX,
  valueRule: `must be strings of 1 to ${ENV_VALUE_CHARS_MAX} characters`,
  isReserved: isReservedEnvName,
})

/** `metadata`: names, values and the number of entries. */
export const checkMetadata: ValueCheck = checkMap({
  isKey: key => METADATA_NAME.test(key) && key.length <= KEY_CHARS_MAX,
  keyRule: `A key starts with a lower-case letter, has only lower-case letters, digits and hyphens, and at most ${KEY_CHARS_MAX} characters.`,
  isValue: text => text.length <= METADATA_VALUE_CHARS_MAX,
  valueRule: `must be strings of at most ${METADATA_VALUE_CHARS_MAX} characters`,
  isReserved: () => false,
})

/** `allowed-params`: a list of environment variable names that requests may set. */
export const checkAllowedParams: ValueCheck = (value, name) => {
  if (!Array.isArray(value)) return `${name} is invalid. It must be a list of environment variable names.`
  if (value.length > ENTRIES_MAX) return `${name} is invalid. It must have at most ${ENTRIES_MAX} entries.`
  const bad = value.filter(item => typeof item !== 'string' || !ENV_NAME.test(item) || item.length > KEY_CHARS_MAX)
  if (bad.length > 0) {
    const shown = listed(bad.map(item => (typeof item === 'string' ? item : typeof item)))
    return `${name} is invalid. These are not names of environment variables: ${shown}.`
  }
  const reserved = value.filter(isReservedEnvName)
  return reserved.length > 0 ? `${name} is invalid. ${reservedSentence(reserved)}` : undefined
}

const LISTED_MAX = 10
const LISTED_CHARS_MAX = 64

/** Names for a message: few and short, since they come from users. */
export function listed(names: readonly string[]): string {
  const shown = [...names]
    .sort()
    .slice(0, LISTED_MAX)
    .map(name => (name.length > LISTED_CHARS_MAX ? `${name.slice(0, LISTED_CHARS_MAX)}…` : name))
  const hidden = names.length - shown.length
  return hidden > 0 ? `${shown.join(', ')} and ${hidden} more` : shown.join(', ')
}

interface MapRules {
  readonly isKey: (key: string) => boolean
  readonly keyRule: string
  readonly isValue: (text: string) => boolean
  readonly valueRule: string
  readonly isReserved: (key: string) => boolean
}

function checkMap(rules: MapRules): ValueCheck {
  return (value, name) => {
    if (!isJsonObject(value)) return `${name} must be a map from string to string.`
    const keys = Object.keys(value)
    if (keys.length > ENTRIES_MAX) return `${name} must have at most ${ENTRIES_MAX} entries, it has ${keys.length}.`
    const badKeys = keys.filter(key => !rules.isKey(key))
    const reserved = keys.filter(rules.isReserved)
    const badValues = keys.filter(key => !isPlainText(value[key]) || !rules.isValue(value[key]))
    const lines: string[] = []
    if (badKeys.length > 0) lines.push(`${name} has invalid keys: ${listed(badKeys)}. ${rules.keyRule}`)
    if (badValues.length > 0) lines.push(`${name} values ${rules.valueRule}. Not so: ${listed(badValues)}.`)
    if (reserved.length > 0) lines.push(reservedSentence(reserved))
    return lines.length > 0 ? lines.join('\n') : undefined
  }
}

function reservedSentence(names: readonly string[]): string {
  return `The following environment variable keys are reserved: ${listed(names)}. Waiter sets them itself; choose other names.`
}

function isPlainText(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0') && value.isWellFormed()
}
