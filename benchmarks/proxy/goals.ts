import type { CaseReport } from './report.ts'

/** CPU per request, Waiter over the peer, in the cases whose names match. */
interface Goal {
  readonly peers: readonly string[]
  readonly cases: RegExp
  readonly cpuRatioMax: number
}

const SMALL = /^(GET 100 B|GET 10 KB|POST)/
const GOALS: readonly Goal[] = [
  { peers: ['nginx+log', 'haproxy+log'], cases: SMALL, cpuRatioMax: 1 },
  { peers: ['nginx', 'haproxy'], cases: SMALL, cpuRatioMax: 1.1 },
  { peers: ['nginx', 'haproxy', 'nginx+log', 'haproxy+log'], cases: /1 MB/, cpuRatioMax: 1.1 },
]
const GO = 'go'
const GO_THROUGHPUT_RATIO_MIN = 2.5

const ADDED_P99_US_MAX = 1_000
const IDLE_CONNECTION_BYTES_MAX = 8 * 1024

/** The goals that have no peer. */
export function renderExtraGoals(addedP99Us: number | undefined, idleConnectionBytes: number | undefined): string[] {
  const lines: string[] = []
  const judge = (text: string, value: number, max: number): void => {
    lines.push(`goal ${value <= max ? 'holds' : 'MISSED'}: ${text} <= ${max}: ${value.toFixed(0)}`)
  }
  if (addedP99Us !== undefined) judge('p99 added at half load, us', addedP99Us, ADDED_P99_US_MAX)
  if (idleConnectionBytes !== undefined)
    judge('bytes of an idle connection', idleConnectionBytes, IDLE_CONNECTION_BYTES_MAX)
  return lines
}

/** One line for each goal and peer: held in how many cases, missed where and by how much. */
export function renderGoals(reports: readonly CaseReport[]): string[] {
  const lines: string[] = []
  for (const { peers, cases, cpuRatioMax } of GOALS) {
    for (const peer of peers) {
      const judged = reports.flatMap(({ name, cpuRatios }) => {
        const ratio = cpuRatios[peer]
        return ratio === undefined || !cases.test(name) ? [] : [{ name, value: ratio.median }]
      })
      lines.push(...renderGoal(`CPU per request <= ${cpuRatioMax} x ${peer}`, judged, value => value <= cpuRatioMax))
    }
  }
  const go = reports.flatMap(({ name, throughputRatios }) => {
    const ratio = throughputRatios[GO]
    return ratio === undefined || !SMALL.test(name) ? [] : [{ name, value: ratio.median }]
  })
  lines.push(
    ...renderGoal(`requests/s >= ${GO_THROUGHPUT_RATIO_MIN} x go`, go, value => value >= GO_THROUGHPUT_RATIO_MIN),
  )
  return lines
}

function renderGoal(
  text: string,
  judged: readonly { readonly name: string; readonly value: number }[],
  holds: (value: number) => boolean,
): string[] {
  if (judged.length === 0) return []
  const missed = judged.filter(({ value }) => !holds(value))
  if (missed.length === 0) return [`goal holds: ${text} in ${judged.length} cases`]
  const where = missed.map(({ name, value }) => `${name} ${value.toFixed(2)}`).join(', ')
  return [`goal MISSED in ${missed.length} of ${judged.length} cases: ${text}: ${where}`]
}
