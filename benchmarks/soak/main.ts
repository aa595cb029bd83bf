/**
 * `npm run soak -- [--minutes 30] [--rate 2000] [--seed 1] [--json]`: clients that leave, slow readers, killed instances,
 * connections that come and go; afterwards nothing may be left over and everything must be accounted for. See README.md.
 */
import { parseArgs } from 'node:util'
import { judgeSoak } from './checks.ts'
import { Fate } from './ledger.ts'
import { runSoak, type Sample } from './run.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    rate: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
})
const [minutes, rate, seed] = [Number(values.minutes), Number(values.rate), Number(values.seed)]
const MINUTES_MAX = 24 * 60
const RATE_MAX = 20_000
if (!(minutes > 0 && minutes <= MINUTES_MAX && rate > 0 && rate <= RATE_MAX && Number.isInteger(seed))) {
  process.stderr.write(`--minutes takes up to ${MINUTES_MAX}, --rate up to ${RATE_MAX}, --seed a whole number\n`)
  process.exit(2)
}

const print = (line: string): void => void process.stdout.write(`${line}\n`)
const COLUMNS = [
  'minute',
  'req/s',
  'ok',
  'left',
  'errors',
  'broken',
  'p50 ms',
  'p99 ms',
  'kills',
  'conns',
  'router RSS',
  'heap',
  'fds',
  'control RSS',
  'heap',
]
const row = (cells: readonly (string | number)[]): string => cells.map(cell => String(cell).padStart(11)).join(' ')
const mib = (bytes: number): string => (bytes / 1024 / 1024).toFixed(1)

let secondsBefore = 0
function printSample(sample: Sample): void {
  const of = (fate: number): number => sample.fates[fate] ?? 0
  const seconds = sample.atSeconds - secondsBefore
  secondsBefore = sample.atSeconds
  print(
    row([
      (sample.atSeconds / 60).toFixed(1),
      Math.round(sample.sent / seconds),
      of(Fate.OK),
      of(Fate.ABORTED),
      of(Fate.ERROR),
      of(Fate.BROKEN),
      sample.p50Ms.toFixed(1),
      sample.p99Ms.toFixed(1),
      sample.kills,
      sample.connections,
      mib(sample.routerRssBytes),
      mib(sample.routerHeapBytes),
      sample.routerDescriptors,
      mib(sample.controlRssBytes),
      mib(sample.controlHeapBytes),
    ]),
  )
}

print(row(COLUMNS))
const result = await runSoak({
  minutes,
  rate,
  seed,
  // Some have their answer before they get to leave: a tenth really does.
  abortShare: 0.118,
  killEveryMs: 10_000,
  slowEveryMs: 1_000,
  onSample: printSample,
})
const checks = judgeSoak(result, rate)
for (const { what, holds, figures } of checks) print(`${holds ? 'holds' : 'FAILS'}  ${what}: ${figures}`)
const failures = checks.filter(({ holds }) => !holds)
if (values.json) {
  const { samples, ledger, ...rest } = result
  const fates = Object.fromEntries(
    Object.entries(Fate).map(([name, fate]) => [name.toLowerCase(), ledger.counts[fate]]),
  )
  print(
    JSON.stringify({
      minutes,
      rate,
      seed,
      sent: ledger.sent,
      fates,
      ...rest,
      checks,
      failed: failures.length,
      samples,
    }),
  )
}
process.exitCode = failures.length > 0 ? 1 : 0
