import t from 'tap'
import { findCommand } from '../benchmarks/proxy/contestant.ts'
import { renderReport, renderUnexplained } from '../benchmarks/differential/report.ts'
import { runDifferential } from '../benchmarks/differential/run.ts'

/** As many as a few seconds allow; `npm run differential` takes 2,000. */
const CASES = 200

const skip = findCommand('haproxy') === undefined ? 'HAProxy is not installed (apt-get install haproxy)' : false

t.test('odd requests through Waiter, HAProxy and nginx: every difference is explained', { skip }, async t => {
  const result = await runDifferential({ cases: CASES, seed: 20_261_125 })
  t.same(result.faults, [], 'Waiter does what a strict reading says, and its backend sees no malformed request')
  t.same(renderUnexplained(result.findings), [])
  t.ok(result.findings.length > CASES / 4, `${result.findings.length} differences were found at all`)
  t.ok(result.refusals.size > 10, `requests of ${result.refusals.size} kinds were refused`)
  t.match(renderReport(result), /\| a bare LF +\|/)
})
