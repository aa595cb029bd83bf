/**
 * `npm run chaos:raft`: three real processes under kill -9, SIGSTOP and partitions, and load; see `run.ts`.
 */
import { parseArgs } from 'node:util'
import { isPlant, PLANTS } from './plants.ts'
import { type ChaosOptions, runChaos } from './run.ts'

const USAGE = `Three real processes of raft-ts under kill -9, SIGSTOP, partitions and load, judged by an oracle and a
linearizability checker.

  --minutes N      how long faults go on (default 1; fractions are fine, at most 1440)
  --seed S         which faults come, and what clients do (default 1); time is real, so runs are not equal
  --plant NAME     with a planted bug, which must be found: ${Object.keys(PLANTS).join(', ')}
  --json           end with one line of JSON
`
const MINUTES_MAX = 1440

process.exitCode = await main()

async function main(): Promise<number> {
  const parsed = parseOptions()
  if (parsed === undefined) return 2
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
  const report = await runChaos({ ...parsed.options, signal: stop.signal, onProgress: line => console.log(line) })
  const { violations, acknowledged, lost, entries, terms, kills, seconds } = report
  for (const violation of violations) console.log(`VIOLATION ${violation}`)
  console.log(
    `${seconds} s, ${kills} kills, ${terms} terms, ${entries} log entries: ${acknowledged} acknowledged writes, ` +
      `${lost} lost, ${violations.length} violations`,
  )
  if (parsed.isJson) console.log(JSON.stringify({ ...report, violations: violations.length }))
  return violations.length === 0 ? 0 : 1
}

function parseOptions(): { readonly options: ChaosOptions; readonly isJson: boolean } | undefined {
  try {
    const { values } = parseArgs({
      options: {
        minutes: { type: 'string', default: '1' },
        seed: { type: 'string', default: '1' },
        plant: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    })
    const minutes = Number(values.minutes)
    const seed = Number(values.seed)
    if (!(minutes > 0 && minutes <= MINUTES_MAX)) throw new Error(`--minutes must be above 0, not ${values.minutes}`)
    if (!Number.isSafeInteger(seed) || seed < 0) throw new Error(`--seed must be a whole number, not ${values.seed}`)
    const { plant } = values
    if (plant !== undefined && !isPlant(plant)) throw new Error(`--plant: there is no planted bug named ${plant}`)
    return { options: { seconds: minutes * 60, seed, ...(plant === undefined ? {} : { plant }) }, isJson: values.json }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`)
    return undefined
  }
}
