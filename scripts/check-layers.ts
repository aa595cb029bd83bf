/** `npm run layers`: who imports whom, checked against .dependency-cruiser.cjs. Fails when (almost) nothing was read. */
import { spawnSync } from 'node:child_process'

/** A cruise that silently reads nothing passes every rule; the project has more modules than this. */
const MODULES_MIN = 10

const result = spawnSync(
  'node_modules/.bin/depcruise',
  ['--config', '.dependency-cruiser.cjs', '--output-type', 'json', 'packages'],
  { encoding: 'utf8', maxBuffer: 256 * 1024 * 1024 },
)
if (result.error || !result.stdout) {
  console.error(result.stderr || result.error?.message)
  process.exit(1)
}
const summary = JSON.parse(result.stdout).summary as {
  totalCruised: number
  violations: { rule: { name: string; severity: string }; from: string; to: string }[]
}
for (const { rule, from, to } of summary.violations) console.error(`${rule.severity} ${rule.name}: ${from} → ${to}`)
console.log(`${summary.totalCruised} modules, ${summary.violations.length} violations of the layer table`)
if (summary.totalCruised < MODULES_MIN) {
  console.error(
    `only ${summary.totalCruised} modules were read, at least ${MODULES_MIN} exist: the check checks nothing`,
  )
  process.exit(1)
}
process.exit(summary.violations.length === 0 ? 0 : 1)
