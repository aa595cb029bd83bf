import { readdirSync } from 'node:fs'
import t from 'tap'

t.test('every module loads, so that coverage counts what no other test touches', async t => {
  const source = new URL('../src/', import.meta.url)
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts'))
  t.ok(files.length > 20)
  for (const file of files) t.ok(await import(new URL(file, source).href), file)
})
