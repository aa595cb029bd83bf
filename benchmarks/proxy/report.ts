import type { Sample } from './measure.ts'

/** A ratio over all rounds in which both sides have a value. */
export interface Ratio {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly rounds: number
}

/** Samples of one case by contestant; one entry per round, undefined where the machine was too noisy. */
export type Rounds = ReadonlyMap<string, readonly (Sample | undefined)[]>

/** The figures of one contestant in one case: medians over the rounds. */
export type Figures = Readonly<Record<keyof Sample, number>>

/** Medians, and the ratios of Waiter to everybody else. */
export interface CaseReport {
  readonly name: string
  readonly figures: Readonly<Record<string, Figures>>
  readonly cpuRatios: Readonly<Record<string, Ratio>>
  readonly throughputRatios: Readonly<Record<string, Ratio>>
}

const SUBJECT = 'waiter'

/** Sums up one case. */
export function summarizeCase(name: string, rounds: Rounds): CaseReport {
  const figures: Record<string, Figures> = {}
  const cpuRatios: Record<string, Ratio> = {}
  const throughputRatios: Record<string, Ratio> = {}
  for (const [contestant, samples] of rounds) {
    const known = samples.filter(sample => sample !== undefined)
    if (known.length > 0) figures[contestant] = medians(known)
    if (contestant === SUBJECT) continue
    const cpu = ratioOf(rounds, contestant, sample => sample.cpuUsPerRequest)
    if (cpu !== undefined) cpuRatios[contestant] = cpu
    const throughput = ratioOf(rounds, contestant, sample => sample.requestsPerSecond)
    if (throughput !== undefined) throughputRatios[contestant] = throughput
  }
  return { name, figures, cpuRatios, throughputRatios }
}

/** The table for people. */
export function renderCase({ name, figures, cpuRatios, throughputRatios }: CaseReport): string {
  const lines = [
    `${name.padEnd(26)}CPU us/req      req/s    p50 us    p99 us  RSS MiB   waiter's CPU vs it (range)   waiter's req/s`,
  ]
  for (const [contestant, one] of Object.entries(figures)) {
    const cpu = cpuRatios[contestant]
    const throughput = throughputRatios[contestant]
    lines.push(
      `  ${contestant.padEnd(20)}${one.cpuUsPerRequest.toFixed(1).padStart(14)}${one.requestsPerSecond.toFixed(0).padStart(11)}` +
        `${one.p50Us.toFixed(0).padStart(10)}${one.p99Us.toFixed(0).padStart(10)}${one.rssMib.toFixed(0).padStart(9)}` +
        `${cpu === undefined ? '' : `${`${cpu.median.toFixed(2)}  (${cpu.min.toFixed(2)}..${cpu.max.toFixed(2)})`.padStart(24)}`}` +
        `${throughput === undefined ? '' : throughput.median.toFixed(2).padStart(20)}`,
    )
  }
  return lines.join('\n')
}

function ratioOf(rounds: Rounds, contestant: string, figure: (sample: Sample) => number): Ratio | undefined {
  const others = rounds.get(contestant) ?? []
  const ratios = (rounds.get(SUBJECT) ?? [])
    .flatMap((own, round) => {
      const other = others[round]
      return own === undefined || other === undefined || figure(other) === 0 ? [] : [figure(own) / figure(other)]
    })
    .sort((a, b) => a - b)
  if (ratios.length === 0) return undefined
  return { median: medianOf(ratios), min: ratios[0]!, max: ratios.at(-1)!, rounds: ratios.length }
}

function medians(samples: readonly Sample[]): Figures {
  const names = Object.keys(samples[0]!) as (keyof Sample)[]
  return Object.fromEntries(
    names.map(name => [name, medianOf(samples.map(sample => sample[name]).sort((a, b) => a - b))]),
  ) as Figures
}

function medianOf(sorted: readonly number[]): number {
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
