import { err, ok, type Result } from '@waiter/base'

/** A parsed regular expression. `char` accepts one UTF-16 code unit. */
export type PatternNode =
  | { readonly kind: 'char'; readonly accepts: (code: number) => boolean }
  | { readonly kind: 'start' | 'end' }
  | { readonly kind: 'sequence' | 'choice'; readonly items: readonly PatternNode[] }
  | { readonly kind: 'repeat'; readonly item: PatternNode; readonly min: number; readonly max: number }

/** Longest pattern that is looked at. */
export const PATTERN_CHARS_MAX = 256
const GROUP_DEPTH_MAX = 16
const REPEAT_MAX = 100

type Accepts = (code: number) => boolean

class PatternProblem extends Error {}

/** Parses the regular-expression subset that `compilePattern` documents; the error ends a sentence. */
export function parsePattern(source: string): Result<PatternNode, string> {
  if (source.length > PATTERN_CHARS_MAX) return err(`must be at most ${PATTERN_CHARS_MAX} characters.`)
  const reader = { source, index: 0 }
  try {
    const node = readChoice(reader, 0)
    if (reader.index < source.length) throw new PatternProblem('has a ) without (.')
    return ok(node)
  } catch (problem) {
    if (problem instanceof PatternProblem) return err(problem.message)
    throw problem
  }
}

interface Reader {
  readonly source: string
  index: number
}

function readChoice(reader: Reader, depth: number): PatternNode {
  if (depth > GROUP_DEPTH_MAX) throw new PatternProblem(`has groups nested deeper than ${GROUP_DEPTH_MAX}.`)
  const items = [readSequence(reader, depth)]
  while (reader.source[reader.index] === '|') {
    reader.index++
    items.push(readSequence(reader, depth))
  }
  return items.length === 1 ? items[0]! : { kind: 'choice', items }
}

function readSequence(reader: Reader, depth: number): PatternNode {
  const items: PatternNode[] = []
  while (reader.index < reader.source.length) {
    const char = reader.source[reader.index]!
    if (char === '|' || char === ')') break
    items.push(readRepeat(reader, readAtom(reader, depth)))
  }
  return { kind: 'sequence', items }
}

function readAtom(reader: Reader, depth: number): PatternNode {
  const char = reader.source[reader.index++]!
  switch (char) {
    case '(':
      return readGroup(reader, depth)
    case '[':
      return { kind: 'char', accepts: readClass(reader) }
    case '.':
      return { kind: 'char', accepts: code => code !== 10 && code !== 13 && code !== 0x2028 && code !== 0x2029 }
    case '^':
      return { kind: 'start' }
    case '$':
      return { kind: 'end' }
    case '\\':
      return { kind: 'char', accepts: readEscape(reader) }
    case '*':
    case '+':
    case '?':
    case '{':
      throw new PatternProblem(`has a ${char} with nothing to repeat before it.`)
    default:
      return { kind: 'char', accepts: exactly(char) }
  }
}

function readGroup(reader: Reader, depth: number): PatternNode {
  if (reader.source.startsWith('?:', reader.index)) reader.index += 2
  else if (reader.source[reader.index] === '?') {
    throw new PatternProblem('uses a (?…) group other than (?:…), which is not supported.')
  }
  const node = readChoice(reader, depth + 1)
  if (reader.source[reader.index] !== ')') throw new PatternProblem('has a ( without ).')
  reader.index++
  return node
}

function readRepeat(reader: Reader, item: PatternNode): PatternNode {
  const char = reader.source[reader.index]
  let range: readonly [number, number]
  if (char === '*') range = [0, Number.POSITIVE_INFINITY]
  else if (char === '+') range = [1, Number.POSITIVE_INFINITY]
  else if (char === '?') range = [0, 1]
  else if (char === '{') range = readBraces(reader)
  else return item
  reader.index++
  // A lazy repetition matches the same whole texts as a greedy one.
  if (reader.source[reader.index] === '?') reader.index++
  if ('*+?{'.includes(reader.source[reader.index] ?? ' ')) throw new PatternProblem('repeats a repetition.')
  return { kind: 'repeat', item, min: range[0], max: range[1] }
}

function readBraces(reader: Reader): readonly [number, number] {
  const match = /^\{(\d{1,4})(,(\d{0,4}))?\}/.exec(reader.source.slice(reader.index))
  if (match === null) throw new PatternProblem('has a { that does not begin a repetition such as {2,5}.')
  reader.index += match[0].length - 1
  const min = Number(match[1])
  const isOpen = match[2] !== undefined && match[3] === ''
  const max = match[2] === undefined ? min : isOpen ? Number.POSITIVE_INFINITY : Number(match[3])
  if (min > REPEAT_MAX || (!isOpen && max > REPEAT_MAX) || min > max) {
    throw new PatternProblem(`has a repetition whose bounds are not ordered or exceed ${REPEAT_MAX}.`)
  }
  return [min, max]
}

const isDigit: Accepts = code => code >= 48 && code <= 57
const isWord: Accepts = code =>
  isDigit(code) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122) || code === 95
const isSpace: Accepts = code => /\s/.test(String.fromCharCode(code))
const CLASS_BY_LETTER: Readonly<Record<string, Accepts>> = {
  d: isDigit,
  D: code => !isDigit(code),
  w: isWord,
  W: code => !isWord(code),
  s: isSpace,
  S: code => !isSpace(code),
}
const CONTROL_BY_LETTER: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' }

function readEscape(reader: Reader): Accepts {
  const char = reader.source[reader.index++]
  if (char === undefined) throw new PatternProblem('ends with a single backslash.')
  if (Object.hasOwn(CLASS_BY_LETTER, char)) return CLASS_BY_LETTER[char]!
  if (Object.hasOwn(CONTROL_BY_LETTER, char)) return exactly(CONTROL_BY_LETTER[char]!)
  if (/[A-Za-z0-9]/.test(char)) throw new PatternProblem(`uses \\${char}, which is not supported.`)
  return exactly(char)
}

function readClass(reader: Reader): Accepts {
  const isNegated = reader.source[reader.index] === '^'
  if (isNegated) reader.index++
  const members: Accepts[] = []
  while (reader.source[reader.index] !== ']') {
    if (reader.index >= reader.source.length) throw new PatternProblem('has a [ without ].')
    members.push(readMember(reader))
  }
  reader.index++
  if (members.length === 0) throw new PatternProblem('has an empty class [].')
  return code => members.some(accepts => accepts(code)) !== isNegated
}

function readMember(reader: Reader): Accepts {
  const from = readMemberChar(reader)
  const isRange = reader.source[reader.index] === '-' && (reader.source[reader.index + 1] ?? ']') !== ']'
  if (typeof from === 'function' || !isRange) return typeof from === 'function' ? from : exactly(from)
  reader.index++
  const to = readMemberChar(reader)
  if (typeof to === 'function' || to < from) throw new PatternProblem('has a class range that is not ordered.')
  const low = from.charCodeAt(0)
  const high = to.charCodeAt(0)
  return code => code >= low && code <= high
}

/** One character of a class, or a whole class such as `\d`. */
function readMemberChar(reader: Reader): string | Accepts {
  const char = reader.source[reader.index++]!
  if (char !== '\\') return char
  const letter = reader.source[reader.index]
  const accepts = readEscape(reader)
  if (letter !== undefined && Object.hasOwn(CLASS_BY_LETTER, letter)) return accepts
  return letter !== undefined && Object.hasOwn(CONTROL_BY_LETTER, letter) ? CONTROL_BY_LETTER[letter]! : letter!
}

function exactly(char: string): Accepts {
  const expected = char.charCodeAt(0)
  return code => code === expected
}
