import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'

const here = (path: string) => new URL(path, import.meta.url)

t.test('every rule of SPEC.md has a test that is named after it', async t => {
  const rules = [...readFileSync(here('../SPEC.md'), 'utf8').matchAll(/^- \*\*([A-Z]\d+)\*\*/gm)].map(
    match => match[1]!,
  )
  t.ok(rules.length > 50, `${rules.length} rules`)
  t.equal(new Set(rules).size, rules.length, 'no number twice')
  const tests = readdirSync(here('.'), { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.test.ts'))
  const source = tests.map(name => readFileSync(here(name), 'utf8')).join('\n')
  for (const rule of rules) {
    // Either the title starts with it, or a table row brings it.
    const isTested =
      source.includes(`'${rule} `) ||
      source.includes(`\`${rule} `) ||
      source.includes(`"${rule} `) ||
      source.includes(`['${rule}', `) ||
      source.includes(`'${rule}',`)
    t.ok(isTested, rule)
  }
})
