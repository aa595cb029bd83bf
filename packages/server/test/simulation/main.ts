import { parseArgs } from 'node:util'
import { MUTANTS } from './mutants.ts'
import { simulate } from './simulation.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    mutant: { type: 'string' },
  },
})
const mutant = MUTANTS.find(({ name }) => name === values.mutant)
for (let seed = Number(values.seed); seed < Number(values.seed) + Number(values.seeds); seed++) {
  const t0 = performance.now()
  const { faults, ...r } = await simulate({ seed, mutant })
  console.log(Math.round(performance.now() - t0), JSON.stringify(r), r.violation ? faults.join(' ') : '')
}
