import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

t.test('the example of the README runs', async t => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const example = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
  const source = example
    .replace("'raft-ts'", `'${new URL('../src/index.ts', import.meta.url).href}'`)
    .replace("'@waiter/base'", `'${import.meta.resolve('@waiter/base')}'`)
  const folder = t.testdir({ 'example.ts': source })
  const output = execFileSync(process.execPath, [join(folder, 'example.ts')], { encoding: 'utf8' })
  t.equal(output.match(/value: 'hello', version: 1/g)?.length, 3, output)
})
