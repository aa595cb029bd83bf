import { err, ok, type Result } from '@waiter/base'
import { PATTERN_CHARS_MAX, type PatternNode, parsePattern } from './pattern-parser.ts'

/** A compiled pattern. */
export interface Pattern {
  /** Does the pattern match the whole text? Time is linear in the text's length, whatever the pattern. */
  matches(text: string): boolean
}

/** Longest text that a pattern looks at; a longer one does not match. */
export const PATTERN_TEXT_CHARS_MAX = 2048
const PROGRAM_STEPS_MAX = 250
const COMPILED_MAX = 1000
const compiled = new Map<string, Result<Pattern, string>>()

/**
 * Compiles a regular expression that a *user* wrote (CORS rules, token filters). Backtracking engines can be made to
 * run for years by such a pattern; this one simulates an automaton instead. It knows literals, `.`, classes, groups,
 * `|`, `* + ? {n,m}`, `\d \w \s` and their opposites, `^ $`; no look-around and no back-references.
 *
 * Remembers the last compiled patterns (a pure cache).
 *
 * @returns the pattern, or what is wrong with it as the end of a sentence
 */
export function compilePattern(source: string): Result<Pattern, string> {
  const known = compiled.get(source)
  if (known !== undefined) return known
  const parsed = parsePattern(source)
  const result = parsed.ok ? assemble(parsed.value) : parsed
  if (source.length > PATTERN_CHARS_MAX) return result
  if (compiled.size >= COMPILED_MAX) compiled.clear()
  compiled.set(source, result)
  return result
}

type Step =
  | { readonly kind: 'test'; readonly accepts: (code: number) => boolean }
  | { readonly kind: 'fork'; readonly targets: readonly number[] }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }

function assemble(root: PatternNode): Result<Pattern, string> {
  const program: Step[] = []
  if (!emit(root, program)) return err(`is too large: it needs more than ${PROGRAM_STEPS_MAX} states.`)
  return ok({ matches: text => run(program, text) })
}

/** Appends the steps of a node; falling off their end means that the node has matched. */
function emit(node: PatternNode, program: Step[]): boolean {
  if (program.length > PROGRAM_STEPS_MAX) return false
  switch (node.kind) {
    case 'char':
      program.push({ kind: 'test', accepts: node.accepts })
      return true
    case 'start':
    case 'end':
      program.push({ kind: node.kind })
      return true
    case 'sequence':
      return node.items.every(item => emit(item, program))
    case 'choice':
      return emitChoice(node.items, program)
    case 'repeat':
      return emitRepeat(node.item, node.min, node.max, program)
  }
}

function emitChoice(items: readonly PatternNode[], program: Step[]): boolean {
  const fork = program.push({ kind: 'fork', targets: [] }) - 1
  const starts: number[] = []
  const exits: number[] = []
  for (const item of items) {
    starts.push(program.length)
    if (!emit(item, program)) return false
    exits.push(program.push({ kind: 'fork', targets: [] }) - 1)
  }
  program[fork] = { kind: 'fork', targets: starts }
  for (const exit of exits) program[exit] = { kind: 'fork', targets: [program.length] }
  return true
}

function emitRepeat(item: PatternNode, min: number, max: number, program: Step[]): boolean {
  for (let count = 0; count < min; count++) {
    const before = program.length
    if (!emit(item, program)) return false
    // Nothing repeated is nothing; without this, nested empty groups would cost time without adding steps.
    if (program.length === before) break
  }
  if (max === Number.POSITIVE_INFINITY) {
    const fork = program.push({ kind: 'fork', targets: [] }) - 1
    if (!emit(item, program)) return false
    program.push({ kind: 'fork', targets: [fork] })
    program[fork] = { kind: 'fork', targets: [fork + 1, program.length] }
    return true
  }
  const forks: number[] = []
  for (let count = min; count < max; count++) {
    forks.push(program.push({ kind: 'fork', targets: [] }) - 1)
    if (!emit(item, program)) return false
  }
  for (const fork of forks) program[fork] = { kind: 'fork', targets: [fork + 1, program.length] }
  return true
}

function run(program: readonly Step[], text: string): boolean {
  if (text.length > PATTERN_TEXT_CHARS_MAX) return false
  const scan: Scan = { program, length: text.length, seenAt: new Int32Array(program.length + 1).fill(-1), active: [] }
  reach(scan, 0, 0)
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    const before = scan.active
    scan.active = []
    for (const position of before) {
      const step = program[position]
      if (step?.kind === 'test' && step.accepts(code)) reach(scan, position + 1, index + 1)
    }
    if (scan.active.length === 0) return false
  }
  return scan.active.includes(program.length)
}

interface Scan {
  readonly program: readonly Step[]
  /** Of the text. */
  readonly length: number
  /** The last text index at which a position was reached: no position is looked at twice per character. */
  readonly seenAt: Int32Array
  /** Positions that wait for a character, or are the end of the program. */
  active: number[]
}

/** Adds everything that can be reached from a position without reading a character. */
function reach(scan: Scan, start: number, index: number): void {
  const pending = [start]
  while (pending.length > 0) {
    const position = pending.pop()!
    if (scan.seenAt[position] === index) continue
    scan.seenAt[position] = index
    const step = scan.program[position]
    if (step === undefined || step.kind === 'test') scan.active.push(position)
    else if (step.kind === 'fork') pending.push(...step.targets)
    else if (step.kind === 'start' ? index === 0 : index === scan.length) pending.push(position + 1)
  }
}
