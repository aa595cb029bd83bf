import { readdirSync } from 'node:fs'
import t from 'tap'

/** Begin to work as soon as they are loaded: the end-to-end tests start them as what they are, processes. */
const ENTRIES = /(?:^|\/)(?:.*-)?main\.ts$/

t.test('every module loads, so that coverage counts what no other test touches', async t => {
  const source = new URL('../src/', import.meta.url)
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts'))
  const modules = files.filter(file => !ENTRIES.test(file))
  t.equal(files.length - modules.length, 3, 'main, control-main, router-main')
  t.ok(modules.length >= 14)
  for (const file of modules) t.ok(await import(new URL(file, source).href), file)
})
