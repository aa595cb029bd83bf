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
  const tests = readTests(join('packages', name, 'test'))
  const missing = [...ids].filter(id => !new RegExp(`['"\`]${id}(?![0-9a-z])`).test(tests))
  console.log(`${name}: ${ids.size} rules, ${missing.length} without a test`)
  for (const id of missing) console.error(`  ${specFile}: ${id} has no test whose title starts with it`)
  rules += ids.size
  untested += missing.length
}
console.log(`${rules} rules, ${untested} untested`)
process.exit(untested === 0 ? 0 : 1)

function readTests(directory: string): string {
  if (!existsSync(directory)) return ''
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts') || file.endsWith('.txt'))
    .map(file => readFileSync(join(directory, file), 'utf8'))
    .join('\n')
}
