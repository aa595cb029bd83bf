/**
 * `npm run differential -- [--cases 2000] [--seed 1] [--json] [--write]`: the same odd requests through Waiter, HAProxy
 * and nginx; every difference must be explained by a rule (see README.md). Code 1 when one is not.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { renderReport, renderUnexplained } from './report.ts'
import { runDifferential } from './run.ts'

const CASES_MAX = 100_000
const RESULTS = fileURLToPath(new URL('RESULTS.md', import.meta.url))

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
})
const [cases, seed] = [Number(values.cases), Number(values.seed)]
if (!Number.isInteger(cases) || cases < 1 || cases > CASES_MAX || !Number.isInteger(seed)) {
  process.stderr.write(`--cases takes a whole number from 1 to ${CASES_MAX}, --seed a whole number\n`)
  process.exit(2)
}

const startedAtMs = performance.now()
const result = await runDifferential({ cases, seed, print: line => process.stderr.write(`${line}\n`) })
const report = renderReport(result)
process.stdout.write(`${report}\n`)
if (values.write) writeFileSync(RESULTS, report)
const unexplained = renderUnexplained(result.findings)
for (const line of [...result.faults, ...unexplained]) process.stdout.write(`${line}\n`)
const isMissingPeer = !result.peers.includes('HAProxy')
if (isMissingPeer)
  process.stderr.write('HAProxy is not installed (apt-get install haproxy): nothing was compared with it\n')
if (values.json) {
  const seconds = Math.round((performance.now() - startedAtMs) / 1000)
  process.stdout.write(
    `${JSON.stringify({
      cases,
      seed,
      peers: result.peers,
      differences: result.findings.length,
      unexplained: unexplained.length,
      faults: result.faults.length,
      unrouted: result.unrouted,
      flaws: Object.fromEntries(result.flawsByProxy),
      seconds,
    })}\n`,
  )
}
process.exitCode = unexplained.length + result.faults.length > 0 || isMissingPeer ? 1 : 0
