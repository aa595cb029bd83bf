import t from 'tap'
import { countWorkers } from '../src/count-workers.ts'

t.test('a number is taken as it is; nodes of one machine share its cores out, and each has a worker', async t => {
  for (const [wanted, nodes, cores, workers] of [
    [1, 1, 16, 1],
    [64, 3, 2, 64],
    ['auto', 1, 1, 1],
    ['auto', 1, 2, 2],
    ['auto', 1, 8, 8],
    ['auto', 1, 96, 8],
    ['auto', 3, 2, 1],
    ['auto', 3, 5, 1],
    ['auto', 3, 16, 5],
  ] as const)
    t.equal(countWorkers(wanted, nodes, cores), workers, `${wanted} of ${nodes} nodes on ${cores} cores`)
})
