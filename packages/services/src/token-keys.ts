import { type JsonObject, ownValue } from './json.ts'
import { findParameter } from './parameters.ts'
import { SYSTEM_METADATA, USER_METADATA } from './token-metadata.ts'
import { editableKeys } from './token-record.ts'

/** What is wrong with one key of a token body. */
export type TokenKeyProblem =
  | { readonly kind: 'unknown'; readonly key: string; readonly nearest: string | undefined }
  /** Waiter writes it itself. */
  | { readonly kind: 'system'; readonly key: string }
  /** `message`: whole sentences for the user, one a line, which begin with the key. */
  | { readonly kind: 'invalid'; readonly key: string; readonly message: string }

/** So many letters, and at most a third of them, may be wrong for a key to be taken for a misspelt one. */
const MISSPELT_LETTERS_MAX = 2
/** Longer keys are not compared: no known one comes near. */
const KEY_CHARS_MAX = 64

/**
 * Judges each key of a token body by itself. Needs no configuration, so a client can tell before it asks a Waiter, whose
 * `decideTokenPost` knows more: limits of the deployment, profiles, combinations, and who may.
 */
export function findTokenKeyProblems(body: JsonObject): readonly TokenKeyProblem[] {
  const problems: TokenKeyProblem[] = []
  for (const key of Object.keys(body)) {
    if (SYSTEM_METADATA.some(name => name === key)) problems.push({ kind: 'system', key })
    else if (!editableKeys().includes(key)) problems.push({ kind: 'unknown', key, nearest: nearestKey(key) })
    else {
      const message = findValueProblem(key, ownValue(body, key))
      if (message !== undefined) problems.push({ kind: 'invalid', key, message })
    }
  }
  return problems
}

function findValueProblem(key: string, value: unknown): string | undefined {
  const check = findParameter(key)?.check ?? USER_METADATA[key as keyof typeof USER_METADATA]
  return check(value, key)
}

/** The known key that differs least: in case and separators, or by few letters. */
function nearestKey(key: string): string | undefined {
  if (key.length > KEY_CHARS_MAX) return undefined
  const plain = normalise(key)
  let nearest: string | undefined
  let distanceMin = MISSPELT_LETTERS_MAX + 1
  for (const known of editableKeys()) {
    const distance = editDistance(plain, normalise(known))
    if (distance < distanceMin && distance * 3 <= known.length) {
      nearest = known
      distanceMin = distance
    }
  }
  return nearest
}

function normalise(key: string): string {
  return key.replaceAll(/[-_ .]/g, '').toLowerCase()
}

/** How many letters must be added, removed or changed to make one of the other (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const change = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[to.length]!
}
