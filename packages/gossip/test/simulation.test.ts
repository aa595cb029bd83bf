import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { measure } from '../src/simulator/measure.ts'
import { MUTANTS } from '../src/simulator/mutants.ts'
import { simulate } from '../src/simulator/simulation.ts'

const SEEDS = Number(process.env.GOSSIP_SEEDS ?? 60)
const MUTANT_SEEDS_MAX = 500

for (const [size, seeds] of [
  [3, SEEDS],
  [10, SEEDS],
  [50, Math.ceil(SEEDS / 20)],
] as const) {
  t.test(`L1 L2 groups of ${size} come to agree whatever was done to them`, async t => {
    for (let seed = 1; seed <= seeds; seed++) {
      const { violation, faults } = simulate({ seed, size })
      t.equal(violation, undefined, `seed ${seed}, ${faults.join(' ')}`)
    }
  })
}

t.test('L3 equal seeds give equal runs', async t => {
  t.same(simulate({ seed: 6, size: 10 }), simulate({ seed: 6, size: 10 }))
  t.not(simulate({ seed: 6, size: 10 }).traceHash, simulate({ seed: 7, size: 10 }).traceHash)
})

for (const mutant of MUTANTS) {
  t.test(`L4 found: ${mutant.name}. ${mutant.story}`, async t => {
    let seed = 1
    while (seed <= MUTANT_SEEDS_MAX && simulate({ seed, mutant, size: [3, 10][seed % 2]! }).violation === undefined)
      seed++
    t.ok(seed <= MUTANT_SEEDS_MAX, `by seed ${seed}`)
  })
}

t.test('F3 a crash is noticed in the time that is promised, and lossy links kill nobody', async t => {
  const { detectAllMs, falseDeaths } = measure(3, 2)
  t.ok(detectAllMs.max < 4_000, `${detectAllMs.max} ms`)
  t.match(falseDeaths, { loss5: 0, oneWayLink: 0, pausedNode: 0 })
})

const main = fileURLToPath(new URL('../src/node/simulator/main.ts', import.meta.url))
const run = (...words: string[]) => spawnSync(process.execPath, [main, ...words], { encoding: 'utf8' })

t.test('L3 the command ends with one line of JSON, and tells how to replay a failure', async t => {
  const good = run('--seeds', '3', '--size', '3', '--runs', '0', '--json')
  t.equal(good.status, 0)
  t.match(JSON.parse(good.stdout.trimEnd().split('\n').at(-1)!), { seeds: 3, violations: 0, events: Number })
  const bad = run('--seeds', '1', '--size', '3', '--runs', '0', '--mutant', 'endless-gossip')
  t.equal(bad.status, 1)
  t.match(bad.stdout, /replay: npm run sim:gossip -- --seeds 1 --seed 1 --size 3 --runs 0 --mutant endless-gossip/)
  const wrong = run('--seeds', 'many')
  t.equal(wrong.status, 2)
  t.match(wrong.stderr, /--seeds must be a whole number of at least 1, not many/)
})
