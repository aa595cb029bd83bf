/**
 * `npm run spec:coverage`: every rule of the behaviour reference (§1–§5, §8, §12) that docs/spec-coverage.md lists has a
 * test, a line in docs/divergence.md, or a reason why it is open; what it names exists. Prints the counts per section.
 *
 * A line of the list is `- 1.2.3 a few words — evidence; evidence`, where evidence is
 * `package:RULE` (a rule of that package's SPEC.md; a test quotes it, as `npm run spec` checks),
 * `place/file "beginning of a title"` (a test; `place` is a package, or `test` for test/),
 * `differs "words"` (a row of docs/divergence.md with the rule's section and these words) or
 * `open: why` (last in its line).
 */
import { existsSync, readFileSync } from 'node:fs'
import { PARAMETERS } from '../packages/services/src/parameters.ts'
import { readRules, type Rule } from './spec-list.ts'

const LIST = 'docs/spec-coverage.md'
/** What must be listed, and into how many parts the reference cuts it. */
const SECTIONS: ReadonlyMap<string, number> = new Map([
  ['1', 13],
  ['2', 9],
  ['3', 7],
  ['4', 8],
  ['5', 10],
  ['8', 0],
  ['12', 0],
])

const problems: string[] = []
const { rules, malformed } = readRules(readFileSync(LIST, 'utf8'))
problems.push(...malformed.map(line => `not a rule: ${line}`))
const divergences = readDivergences()
const texts = new Map<string, string>()

for (const rule of rules) {
  problems.push(...findProblems(rule).map(problem => `${rule.id}: ${problem}`))
}
problems.push(...findMissing())
printCounts()
for (const problem of problems) console.error(`${LIST}: ${problem}`)
process.exit(problems.length === 0 ? 0 : 1)

function findProblems(rule: Rule): string[] {
  const found: string[] = []
  if (!SECTIONS.has(rule.section.split('.')[0] ?? '')) found.push('a section that the list does not cover')
  if (rules.filter(({ id }) => id === rule.id).length > 1) found.push('listed twice')
  if (rule.evidence.length === 0) found.push('neither a test nor a divergence nor a reason why it is open')
  for (const evidence of rule.evidence) {
    if (evidence.kind === 'rule' && !hasRule(evidence.package, evidence.rule))
      found.push(`packages/${evidence.package}/SPEC.md has no rule ${evidence.rule}`)
    if (evidence.kind === 'test' && !hasTest(evidence.file, evidence.title))
      found.push(`${evidence.file} has no test whose title begins with "${evidence.title}"`)
    if (evidence.kind === 'differs' && !differs(rule.section, evidence.words))
      found.push(`docs/divergence.md has no row for §${rule.section} with "${evidence.words}"`)
  }
  return found
}

function read(file: string): string {
  const known = texts.get(file)
  if (known !== undefined) return known
  const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
  texts.set(file, text)
  return text
}

function hasRule(name: string, rule: string): boolean {
  return read(`packages/${name}/SPEC.md`).includes(`**${rule}** `)
}

/** A title stands in quotes in the file, as an argument or in a table's row. */
function hasTest(file: string, title: string): boolean {
  const text = read(file)
  return ["'", '"', '`'].some(quote => text.includes(quote + title))
}

function differs(section: string, words: string): boolean {
  return divergences.some(row => row.sections.includes(section) && row.text.includes(words))
}

function readDivergences(): { readonly sections: readonly string[]; readonly text: string }[] {
  const rows = readFileSync('docs/divergence.md', 'utf8').matchAll(/^\| ([\d., ]+?) *\|(.*)\|$/gm)
  return [...rows].map(([, sections = '', text = '']) => ({
    sections: sections.split(',').map(section => section.trim()),
    text: text.replace(/ {2,}/g, ' '),
  }))
}

/** Parts, parameters and endpoints that the list forgets. */
function findMissing(): string[] {
  const missing: string[] = []
  for (const [chapter, parts] of SECTIONS)
    for (const section of parts === 0 ? [chapter] : Array.from({ length: parts }, (_, i) => `${chapter}.${i + 1}`))
      if (!rules.some(rule => rule.section === section)) missing.push(`nothing of §${section}`)
  const listed = new Set(rules.filter(({ section }) => section === '2.1').map(({ id }) => id.replace('2.1.', '')))
  for (const { name } of PARAMETERS) if (!listed.has(name)) missing.push(`2.1.${name} is a parameter and not listed`)
  return missing
}

function printCounts(): void {
  const row = (name: string, of: readonly Rule[]): void => {
    const open = of.filter(({ evidence }) => evidence.some(({ kind }) => kind === 'open'))
    const diverging = of.filter(rule => !open.includes(rule) && rule.evidence.some(({ kind }) => kind === 'differs'))
    const tested = of.length - open.length - diverging.length
    const cells = [name, String(of.length), String(tested), String(diverging.length), String(open.length)]
    console.log(cells.map((cell, index) => (index === 0 ? cell.padEnd(8) : cell.padStart(10))).join(''))
  }
  console.log(
    ['section', 'rules', 'tested', 'diverging', 'open'].map((c, i) => (i ? c.padStart(10) : c.padEnd(8))).join(''),
  )
  for (const chapter of SECTIONS.keys()) {
    row(
      `§${chapter}`,
      rules.filter(({ section }) => section.split('.')[0] === chapter),
    )
  }
  row('all', rules)
}
