/**
 * Judges one value. Returns undefined when it is valid, else whole sentences for the user, one a line; `name` is what
 * the user calls the value.
 */
export type ValueCheck = (value: unknown, name: string) => string | undefined

/** No string of a description is longer, whatever its parameter (`cmd` has its own, smaller limit by constraint). */
export const DESCRIPTION_STRING_CHARS_MAX = 16_384

/** A string that is not blank, has no NUL and is well-formed Unicode. */
export function nonBlankText(charsMax: number = DESCRIPTION_STRING_CHARS_MAX): ValueCheck {
  return (value, name) => {
    if (typeof value !== 'string' || value.trim() === '') return `${name} must be a non-empty string.`
    if (value.length > charsMax) return `${name} must be at most ${charsMax} characters.`
    if (value.includes('\0')) return `${name} must not contain a NUL character.`
    return value.isWellFormed() ? undefined : `${name} must be well-formed Unicode.`
  }
}

/** A short name that also travels in headers and environment variables: no control characters. */
export function nameText(charsMax: number): ValueCheck {
  const checkText = nonBlankText(charsMax)
  return (value, name) => {
    const problem = checkText(value, name)
    if (problem !== undefined) return problem
    return /[\u0000-\u001f\u007f]/.test(String(value)) ? `${name} must not contain control characters.` : undefined
  }
}

/** One of the given strings. */
export function oneOf(choices: readonly string[]): ValueCheck {
  return (value, name) =>
    choices.some(choice => choice === value) ? undefined : `${name} must be one of ${choices.join(', ')}.`
}

/** Like {@link oneOf}, or null, which stands for "not said". */
export function oneOfOrNull(choices: readonly string[]): ValueCheck {
  return (value, name) =>
    value === null || choices.some(choice => choice === value)
      ? undefined
      : `${name} must be one of ${choices.join(', ')}, or null.`
}

/** A whole number from `min` to `max`, both included. */
export function integerBetween(min: number, max: number): ValueCheck {
  return (value, name) =>
    Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max
      ? undefined
      : `${name} must be an integer between ${min} and ${max} (inclusive).`
}

/** A whole number that is at least `min` and safe to calculate with. */
export function integerFrom(min: 0 | 1): ValueCheck {
  const kind = min === 0 ? 'non-negative' : 'positive'
  return (value, name) =>
    Number.isSafeInteger(value) && Number(value) >= min ? undefined : `${name} must be a ${kind} integer.`
}

/** A finite number for which `holds` is true; `phrase` ends the sentence "… must be". */
export function numberWhere(holds: (value: number) => boolean, phrase: string): ValueCheck {
  return (value, name) =>
    typeof value === 'number' && Number.isFinite(value) && holds(value) ? undefined : `${name} must be ${phrase}.`
}

/** true or false. */
export const booleanValue: ValueCheck = (value, name) =>
  typeof value === 'boolean' ? undefined : `${name} must be true or false.`
