import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { ScriptRunner } from './support/script.ts'

// Conversations as text. After a wanted change of behaviour run with RAFT_REWRITE_SCRIPTS=1 and review the difference.
const { RAFT_REWRITE_SCRIPTS } = process.env
const isRewriting = RAFT_REWRITE_SCRIPTS === '1'
const folder = new URL('./scripts/', import.meta.url)
const names = readdirSync(folder).filter(name => name.endsWith('.txt'))

t.test('there are scripts', async t => {
  t.ok(names.length >= 8, `${names.length} scripts`)
})

for (const name of names) {
  t.test(name, async t => {
    const url = new URL(name, folder)
    const script = readFileSync(url, 'utf8')
    const actual = new ScriptRunner().run(script)
    if (isRewriting) writeFileSync(url, actual)
    else t.equal(actual, script)
  })
}
