import t from 'tap'
import { renderReport, renderUnexplained } from '../benchmarks/differential/report.ts'
import { runDifferential } from '../benchmarks/differential/run.ts'
import { missing } from './support/programs.ts'

/** As many as a few seconds allow; `npm run differential` takes 2,000. */
const CASES = 200

t.test(
  'odd requests through Waiter, HAProxy and nginx: every difference is explained',
  { skip: missing('haproxy') },
  async t => {
    const result = await runDifferential({ cases: CASES, seed: 20_261_125 })
    t.ok(result.peers.includes('HAProxy'))
    t.same(result.faults, [], 'Waiter does what a strict reading says, and its backend sees no malformed request')
    t.same(renderUnexplained(result.findings), [])
    t.ok(result.findings.length > CASES / 4, `${result.findings.length} differences were found at all`)
    t.ok(result.refusals.size > 10, `requests of ${result.refusals.size} kinds were refused`)
    t.match(renderReport(result), /\| a bare LF +\|/)
  },
)
