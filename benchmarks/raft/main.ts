/**
 * raft-ts in three processes with fsync on: writes per second, election after SIGKILL, recovery of a long log; beside
 * etcd, when it is installed.
 *
 *     node benchmarks/raft/main.ts [--kills 30] [--rounds 3] [--seconds 3] [--transport grpc|tcp] [--no-etcd] [--json]
 *
 * Method and what the figures mean: README.md.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Cluster } from './cluster.ts'
import { measureFailovers } from './election.ts'
import { EtcdCluster, etcdVersion } from './etcd-cluster.ts'
import { type Load, type Round, writeFor } from './load.ts'
import { RaftTsCluster } from './raft-ts-cluster.ts'
import { measureRecovery } from './recovery.ts'

const PROPOSERS = [1, 16, 256] as const
const VALUE_BYTES = 200
const RECOVERY_LOG_BYTES = 100 * 1000 * 1000
/** What ships: heartbeat every tick of 40 ms; election after 10 to 20. */
const TICK_MS = 40
const ELECTION_TICKS = 10
const GOAL_RATIO = 1
const NAME_WIDTH = 24
const GOAL_ELECTION_P99_MS = 1000

interface Row {
  readonly name: string
  readonly proposers: number
  readonly writesPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly errors: number
}

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '30' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '3' },
    transport: { type: 'string', default: 'grpc' },
    'no-etcd': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
const kills = count('--kills', values.kills, 1000)
const rounds = count('--rounds', values.rounds, 100)
const seconds = count('--seconds', values.seconds, 600)
const transport = values.transport === 'tcp' ? 'tcp' : 'grpc'

const directory = mkdtempSync(join(tmpdir(), 'raft-benchmark-'))
const clusters: Cluster[] = []
// Ctrl-C must not leave processes behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanUp().then(() => process.exit(1)))
try {
  await main()
} finally {
  await cleanUp()
}

async function main(): Promise<void> {
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, node ${process.version}`
  console.log(`${machine}, load ${loadavg()[0]?.toFixed(2)}; three members each, fsync on, ${VALUE_BYTES}-byte values`)
  const ours = await RaftTsCluster.start({ directory, transport, tickMs: TICK_MS, electionTicks: ELECTION_TICKS })
  clusters.push(ours)
  const version = values['no-etcd'] ? undefined : etcdVersion()
  const etcd = version === undefined ? undefined : await EtcdCluster.start(directory)
  if (etcd !== undefined) clusters.push(etcd)
  else console.log('etcd is not there: no comparison (Debian: apt-get install etcd-server)')
  const client: Contestant = { name: ours.name, write: load => writeFor(ours, load) }
  const inside: Contestant = { name: `${ours.name}, inside`, write: load => ours.writeInside(load) }
  const theirs: Contestant[] = etcd === undefined ? [] : [{ name: etcd.name, write: load => writeFor(etcd, load) }]
  const rows = await measureWrites([client, ...theirs, inside])
  await etcd?.stop()
  const ratios = etcd && {
    sameClient: ratiosOf(rows, client.name, etcd.name),
    inside: ratiosOf(rows, inside.name, etcd.name),
  }
  const election = await measureElection(ours)
  await ours.stop()
  const recovery = await measureRecovery(join(directory, 'recovery'), RECOVERY_LOG_BYTES, VALUE_BYTES)
  const { openMs, readyMs, entries } = recovery
  console.log(
    `recovery of a 100 MB log (${entries} entries): read in ${openMs.toFixed(0)} ms, serving after ${readyMs.toFixed(0)} ms`,
  )
  if (values.json) console.log(JSON.stringify({ machine, transport, rows, ratios, election, recovery }))
}

/** One way to write. */
interface Contestant {
  readonly name: string
  readonly write: (load: Load) => Promise<Round>
}

async function measureWrites(contestants: readonly Contestant[]): Promise<Row[]> {
  const rows: Row[] = []
  for (const proposers of PROPOSERS) {
    const results = new Map<Contestant, Round[]>(contestants.map(contestant => [contestant, []]))
    for (let round = 0; round < rounds; round++) {
      // In turns and in changing order: what else the machine does meets everybody alike.
      const order = round % 2 === 0 ? contestants : contestants.toReversed()
      for (const contestant of order) {
        results.get(contestant)?.push(await contestant.write({ proposers, seconds, valueBytes: VALUE_BYTES }))
      }
    }
    for (const [{ name }, all] of results) rows.push(tell(summarize(name, proposers, all)))
  }
  return rows
}

function tell(row: Row): Row {
  const rate = `${row.writesPerSecond} writes/s`.padStart(14)
  const latency = `p50 ${row.p50Ms.toFixed(2)} ms  p99 ${row.p99Ms.toFixed(2)} ms`
  const errors = row.errors === 0 ? '' : `, ${row.errors} errors`
  console.log(
    `${String(row.proposers).padStart(3)} proposers  ${row.name.padEnd(NAME_WIDTH)} ${rate}  ${latency}${errors}`,
  )
  return row
}

function summarize(name: string, proposers: number, all: readonly Round[]): Row {
  const latencies = all.flatMap(({ latenciesMs }) => latenciesMs).sort((a, b) => a - b)
  const rates = all.map(({ writes, seconds: length }) => writes / length).sort((a, b) => a - b)
  return {
    name,
    proposers,
    writesPerSecond: Math.round(rates[rates.length >> 1] ?? 0),
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    errors: all.reduce((sum, { errors }) => sum + errors, 0),
  }
}

function ratiosOf(rows: readonly Row[], name: string, to: string): Record<string, number> {
  const rate = (proposers: number, whose: string): number =>
    rows.find(row => row.proposers === proposers && row.name === whose)?.writesPerSecond ?? Number.NaN
  const ratios = PROPOSERS.map(proposers => [
    proposers,
    Number((rate(proposers, name) / rate(proposers, to)).toFixed(2)),
  ])
  const found = Object.fromEntries(ratios) as Record<string, number>
  const verdict = (found[256] ?? 0) >= GOAL_RATIO ? 'met' : 'missed'
  console.log(`writes/s, ${name} over ${to}: ${JSON.stringify(found)} (goal at 256: ${GOAL_RATIO}, ${verdict})`)
  return found
}

async function measureElection(ours: RaftTsCluster) {
  const failovers = await measureFailovers(ours, kills)
  const elected = failovers.map(({ electedMs }) => electedMs).sort((a, b) => a - b)
  const writable = failovers.map(({ writableMs }) => writableMs).sort((a, b) => a - b)
  const figures = {
    kills,
    electedP50Ms: percentile(elected, 0.5),
    electedP99Ms: percentile(elected, 0.99),
    writableP50Ms: percentile(writable, 0.5),
    writableP99Ms: percentile(writable, 0.99),
  }
  const verdict = figures.electedP99Ms <= GOAL_ELECTION_P99_MS ? 'met' : 'missed'
  console.log(
    `${kills} × SIGKILL of the leader: next leader after p50 ${figures.electedP50Ms.toFixed(0)} ms, p99 ${figures.electedP99Ms.toFixed(0)} ms (goal ${GOAL_ELECTION_P99_MS}, ${verdict}); first write after p50 ${figures.writableP50Ms.toFixed(0)} ms, p99 ${figures.writableP99Ms.toFixed(0)} ms`,
  )
  return figures
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

async function cleanUp(): Promise<void> {
  await Promise.all(clusters.map(cluster => cluster.stop()))
  rmSync(directory, { recursive: true, force: true })
}

function count(name: string, text: string, max: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= max) return value
  process.stderr.write(`${name} takes a whole number from 1 to ${max}, not ${text}\n`)
  process.exit(2)
}
