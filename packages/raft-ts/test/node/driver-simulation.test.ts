import { createHash } from 'node:crypto'
import t from 'tap'
import { DriverWorld } from './support/driver-world.ts'

const { RAFT_DRIVER_SEEDS, RAFT_DRIVER_FIRST_SEED } = process.env
const SEEDS = Number(RAFT_DRIVER_SEEDS ?? 20)
const FIRST = Number(RAFT_DRIVER_FIRST_SEED ?? 1)
const STEPS = 700

t.setTimeout(SEEDS > 20 ? 600_000 : 100_000)

async function live(seed: number) {
  const world = new DriverWorld(seed)
  const verdict = await world.live(STEPS)
  const { ledgers, operations, events } = world
  const trace = createHash('sha256')
    .update(JSON.stringify([ledgers, operations, events]))
    .digest('hex')
  return { verdict, trace, operations: operations.length }
}

t.test('D2 D8 the real driver and log survive crashes, stalls, full disks and partitions, seed by seed', async t => {
  let acknowledged = 0
  let terms = 0
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    const { verdict } = await live(seed).catch(cause => {
      throw new Error(`seed ${seed}: ${cause}`, { cause })
    })
    if (verdict.violations.length > 0) t.fail(`seed ${seed}: ${verdict.violations.join('\n')}`)
    acknowledged += verdict.acknowledged
    terms += verdict.terms
  }
  t.comment(`${SEEDS} seeds, ${acknowledged} acknowledged writes, ${terms} terms`)
  t.ok(acknowledged > SEEDS * 5 && terms > SEEDS, `${acknowledged} acknowledged writes, ${terms} terms`)
})

t.test('X1 equal seeds give equal lives of the real driver', async t => {
  for (const seed of [FIRST, FIRST + 1]) {
    const [once, again] = [await live(seed), await live(seed)]
    t.equal(once.trace, again.trace)
  }
})
