/** One rule of the behaviour reference and what shows that it holds, or why not. */
export interface Rule {
  /** Section and item: `1.3.4`, `2.1.cpus`. */
  readonly id: string
  /** `1.3`; of the chapters without parts `8` or `12`. */
  readonly section: string
  /** Empty where the item says it. */
  readonly words: string
  readonly evidence: readonly Evidence[]
}

export type Evidence =
  | { readonly kind: 'rule'; readonly package: string; readonly rule: string }
  | { readonly kind: 'test'; readonly file: string; readonly title: string }
  | { readonly kind: 'differs'; readonly words: string }
  | { readonly kind: 'open'; readonly why: string }

const LINE = /^- (\d+\.\S+)(?: (.+?))? — (.+)$/
/** Titles have semicolons, too: what follows must begin as evidence does. */
const SEPARATOR = /; (?=[a-z-]+[:/]|differs ")/
const CHAPTERS_WITHOUT_PARTS: ReadonlySet<string> = new Set(['8', '12'])

/** Reads the list (its format: scripts/check-behaviour-coverage.ts). Every list item must be a rule. */
export function readRules(text: string): { readonly rules: readonly Rule[]; readonly malformed: readonly string[] } {
  const rules: Rule[] = []
  const malformed: string[] = []
  for (const line of text.split('\n')) {
    if (!line.startsWith('- ')) continue
    const match = LINE.exec(line)
    const evidence = match === null ? undefined : readEvidence(match[3] ?? '')
    if (match === null || evidence === undefined) {
      malformed.push(line.slice(0, 120))
      continue
    }
    const [, id = '', words = ''] = match
    const [chapter = '', part = ''] = id.split('.')
    const section = CHAPTERS_WITHOUT_PARTS.has(chapter) ? chapter : `${chapter}.${part}`
    rules.push({ id, section, words, evidence })
  }
  return { rules, malformed }
}

function readEvidence(text: string): Evidence[] | undefined {
  const openAt = text.search(/(?:^|; )open: /)
  const settled = openAt < 0 ? text : text.slice(0, openAt)
  const found: Evidence[] = []
  for (const part of settled === '' ? [] : settled.split(SEPARATOR)) {
    const evidence = readOne(part)
    if (evidence === undefined) return undefined
    found.push(...evidence)
  }
  if (openAt >= 0) found.push({ kind: 'open', why: text.slice(openAt).replace(/^(?:; )?open: /, '') })
  return found
}

function readOne(part: string): Evidence[] | undefined {
  const rule = /^([a-z-]+):([A-Z]{1,2}\d+(?: [A-Z]{1,2}\d+)*)$/.exec(part)
  if (rule !== null)
    return (rule[2] ?? '').split(' ').map(id => ({ kind: 'rule', package: rule[1] ?? '', rule: id }) as const)
  const differs = /^differs "(.+)"$/.exec(part)
  if (differs !== null) return [{ kind: 'differs', words: differs[1] ?? '' }]
  const test = /^([a-z-]+)\/([\w/-]+) "(.+)"$/.exec(part)
  if (test === null) return undefined
  const [, place = '', file = '', title = ''] = test
  const directory = place === 'test' ? 'test' : `packages/${place}/test`
  return [{ kind: 'test', file: `${directory}/${file}.test.ts`, title }]
}
