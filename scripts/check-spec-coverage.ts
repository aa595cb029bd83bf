/**
 * `npm run spec`: every numbered rule of a package's SPEC.md has a test whose title starts with its id.
 * Rules are list items or table rows that begin with an id: `- **A3** …`, `| A3 | …`.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const RULE = /^(?:[-*]\s+|\|\s*|#+\s+)?\*{0,2}`?([A-Z]{1,4}\d{1,3}[a-z]?)`?\*{0,2}(?=[\s.:|])/gm
let rules = 0
let untested = 0

for (const name of readdirSync('packages').sort()) {
  const specFile = join('packages', name, 'SPEC.md')
  if (!existsSync(specFile)) continue
  const ids = new Set([...readFileSync(specFile, 'utf8').matchAll(RULE)].map(match => match[1] as string))
  const tested = testedIds(readTests(join('packages', name, 'test')))
  const missing = [...ids].filter(id => !tested.has(id))
  console.log(`${name}: ${ids.size} rules, ${missing.length} without a test`)
  for (const id of missing) console.error(`  ${specFile}: ${id} has no test whose title starts with it`)
  rules += ids.size
  untested += missing.length
}
console.log(`${rules} rules, ${untested} untested`)
process.exit(untested === 0 ? 0 : 1)

/** Ids at the beginning of titles: one, several in a row (`'F1 F2 a failure …'`), or alone in a table's row (`['F1', …`). */
function testedIds(tests: string): Set<string> {
  const LEADING_IDS = /(?:['"`]|^# )((?:[A-Z]{1,4}\d{1,3}[a-z]?['"`]?[\s,]+)+)/gm
  const ids = [...tests.matchAll(LEADING_IDS)].flatMap(match => (match[1] as string).split(/[\s,'"`]+/))
  return new Set(ids.filter(id => id !== ''))
}

function readTests(directory: string): string {
  if (!existsSync(directory)) return ''
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts') || file.endsWith('.txt'))
    .map(file => readFileSync(join(directory, file), 'utf8'))
    .join('\n')
}
