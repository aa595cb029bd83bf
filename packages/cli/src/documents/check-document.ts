import { findTokenKeyProblems, type TokenKeyProblem } from '@waiter/services'
import type { DocumentProblem, TokenDocument } from './token-document.ts'

/** Maps whose values are all text; people write ports and flags there without quotes. */
const TEXT_MAPS = ['env', 'metadata']

/** What can be known to be wrong before a Waiter is asked. */
export function checkDocument(document: TokenDocument): readonly DocumentProblem[] {
  return findTokenKeyProblems(document.body).flatMap(problem => explain(document, problem))
}

function explain(document: TokenDocument, problem: TokenKeyProblem): DocumentProblem[] {
  const { key } = problem
  const place = document.placeOf([key])
  if (problem.kind === 'system') return [{ ...place, message: `${key}: Waiter writes this itself; leave it out` }]
  if (problem.kind === 'unknown') {
    const hint =
      problem.nearest === undefined ? 'docs/services.md lists those that there are' : `did you mean ${problem.nearest}?`
    return [{ ...place, message: `${key}: there is no such key; ${hint}` }]
  }
  const nested = TEXT_MAPS.includes(key) ? findUnquoted(document, key) : []
  if (nested.length > 0) return nested
  const value = document.body[key]
  const isUnquoted = typeof value === 'number' || typeof value === 'boolean'
  const quote = isUnquoted && /string/.test(problem.message) ? ` Put it in quotes: ${quoted(document, [key])}` : ''
  return problem.message.split('\n').map(message => ({ ...place, message: message + quote }))
}

function findUnquoted(document: TokenDocument, key: string): DocumentProblem[] {
  const map = document.body[key]
  if (typeof map !== 'object' || map === null) return []
  return Object.entries(map)
    .filter(([, value]) => typeof value === 'number' || typeof value === 'boolean')
    .map(([name]) => ({
      ...document.placeOf([key, name]),
      message: `${key}.${name}: must be text. Put it in quotes: ${quoted(document, [key, name])}`,
    }))
}

function quoted(document: TokenDocument, path: readonly string[]): string {
  return JSON.stringify(document.sourceOf(path) ?? '')
}
