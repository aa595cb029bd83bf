import { parentPort } from 'node:worker_threads'
import { MUTANTS } from '../../simulator/mutants/index.ts'
import { type SimulationResult, simulate } from '../../simulator/simulation.ts'
import type { SeedJob, SeedReport } from './jobs.ts'

/** Every so many seeds one is run twice, to prove that equal seeds give equal runs. */
const REPEAT_EVERY = 50

parentPort?.on('message', (job: SeedJob) => parentPort?.postMessage(runJob(job)))

function runJob(job: SeedJob): SeedReport {
  const mutant = MUTANTS.find(candidate => candidate.name === job.mutant)
  const without = new Set(job.without)
  const failures: SimulationResult[] = []
  let [seeds, events, operations] = [0, 0, 0]
  for (let seed = job.from; seed < job.from + job.count; seed++) {
    const run = (): SimulationResult => simulate(mutant === undefined ? { seed, without } : { seed, without, mutant })
    const result = run()
    seeds++
    events += result.events
    operations += result.operations
    if (result.violation !== undefined) failures.push(result)
    else if (seed % REPEAT_EVERY === 0 && run().traceHash !== result.traceHash) {
      const message = `seed ${seed} ran differently the second time`
      failures.push({ ...result, violation: { check: 'determinism', message, atMs: 0 } })
    }
    // A planted bug needs to be found once.
    if (mutant !== undefined && failures.length > 0) break
  }
  return { job, seeds, events, operations, failures }
}
