import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const main = fileURLToPath(new URL('../src/node/simulator/main.ts', import.meta.url))
const run = (...words: string[]) => spawnSync(process.execPath, [main, ...words], { encoding: 'utf8' })

t.test('X3 the command ends with one line of JSON', async t => {
  const { stdout, status } = run('--seeds', '4', '--jobs', '1', '--json')
  t.equal(status, 0)
  const last = stdout.trimEnd().split('\n').at(-1)!
  t.match(JSON.parse(last), { seeds: 4, violations: 0, events: Number })
})

t.test('X5 a failure is told with its seed, its faults and how to replay it', async t => {
  const { stdout, status } = run('--seed', '2', '--mutant', 'node-id-reused-after-wipe', '--jobs', '1')
  t.equal(status, 1)
  t.match(stdout, /seed 2 FAILED monotonic-state/)
  t.match(stdout, /faults needed: .*wipe/)
  const replay = /replay: node (\S+) (.*)/.exec(stdout)?.[2] ?? ''
  const again = run(...replay.split(' '))
  t.equal(again.status, 1)
  t.match(again.stdout, /"check": "monotonic-state"/)
  t.match(again.stdout, /has lost its disk/, 'with every event')
})

for (const [words, why] of [
  [['--seeds', 'many'], /--seeds must be a whole number above 0, not many/],
  [['--without', 'rain'], /no kind of fault named rain/],
  [['--mutant', 'nobody'], /none named nobody/],
  [['--nonsense'], /--nonsense/],
] as const) {
  t.test(`X5 a mistake is explained: ${words.join(' ')}`, async t => {
    const { stderr, status } = run(...words)
    t.equal(status, 2)
    t.match(stderr, why)
    t.match(stderr, /--without a,b/, 'with the usage')
  })
}
