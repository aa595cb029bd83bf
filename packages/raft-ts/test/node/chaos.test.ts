import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const main = fileURLToPath(new URL('../../src/node/chaos/main.ts', import.meta.url))
const run = (...words: string[]) => spawnSync(process.execPath, [main, ...words], { encoding: 'utf8' })

t.test('three real processes lose nothing under kill -9, SIGSTOP and partitions', async t => {
  // What a busy machine leaves time for differs; every run must be clean, and together they must have had every fault.
  const RUNS_MAX = 4
  const faults: Record<string, number> = {}
  const hasHadAll = () => ['killLeader', 'pauseLeader', 'isolateLeader'].every(name => (faults[name] ?? 0) > 0)
  for (let seed = 7; seed < 7 + RUNS_MAX && !hasHadAll(); seed++) {
    const { stdout, stderr, status } = run('--minutes', '0.16', '--seed', String(seed), '--json')
    t.equal(status, 0, stdout + stderr)
    const report = JSON.parse(stdout.trimEnd().split('\n').at(-1)!)
    t.match(report, { violations: 0, lost: 0, seed })
    t.ok(report.acknowledged > 20 && report.reads > 20, `${report.acknowledged} writes, ${report.reads} reads`)
    for (const [name, times] of Object.entries(report.faults)) faults[name] = (faults[name] ?? 0) + Number(times)
  }
  t.ok(hasHadAll(), JSON.stringify(faults))
})

t.test('a planted bug is found by it', async t => {
  // Processes are not deterministic: a run on a busy machine may be too slow to meet the bug, so it has more than one.
  const RUNS_MAX = 6
  let found: { stdout: string; status: number | null } | undefined
  for (let seed = 1; seed <= RUNS_MAX && found?.status !== 1; seed++) {
    found = run('--minutes', '0.06', '--seed', String(seed), '--plant', 'local-reads')
  }
  t.equal(found?.status, 1)
  t.match(found?.stdout, /VIOLATION client \d+: a read of \S+ stands at \d+, but \d+ was over when it began/)
})

for (const [words, why] of [
  [['--minutes', '0'], /--minutes must be above 0/],
  [['--seed', 'x'], /--seed must be a whole number, not x/],
  [['--plant', 'rose'], /no planted bug named rose/],
] as const) {
  t.test(`a mistake is explained: ${words.join(' ')}`, async t => {
    const { stderr, status } = run(...words)
    t.equal(status, 2)
    t.match(stderr, why)
    t.match(stderr, /--minutes N/, 'with the usage')
  })
}
