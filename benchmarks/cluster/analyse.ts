import type { Sample } from './load.ts'

/** A request must not wait longer than this while a slot is free. */
const FREE_MS_MAX = 20

export interface Analysis {
  readonly requests: number
  readonly meanServiceMs: number
  readonly waitMs: Spread
  /** The same arrivals and service times in one queue for all slots, without any overhead. */
  readonly centralMs: Spread
  readonly p99Ratio: number
  /** How long one slot was free, at a stretch, while one request waited. */
  readonly freeMs: Spread
  readonly freeOver20Ms: number
}

export interface Spread {
  readonly mean: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** Compares what was measured with one queue; the first `skipped` requests are not judged. */
export function analyse(unsorted: readonly Sample[], slots: number, skipped: number): Analysis {
  const samples = [...unsorted].sort((a, b) => a.sentAtMs - b.sentAtMs)
  const central = waitsOfOneQueue(samples, slots)
  const judged = samples.slice(skipped)
  const waitMs = spreadOf(judged.map(({ sentAtMs, beganAtMs }) => beganAtMs - sentAtMs))
  const centralMs = spreadOf(central.slice(skipped))
  const free = freeWhileWaiting(judged)
  return {
    requests: judged.length,
    meanServiceMs: spreadOf(judged.map(({ beganAtMs, endedAtMs }) => endedAtMs - beganAtMs)).mean,
    waitMs,
    centralMs,
    p99Ratio: waitMs.p99 / centralMs.p99,
    freeMs: spreadOf(free),
    freeOver20Ms: free.filter(ms => ms > FREE_MS_MAX).length,
  }
}

export function waitsOfOneQueue(samples: readonly Sample[], slots: number): number[] {
  const freeAtMs = new Array<number>(slots).fill(0)
  return samples.map(({ sentAtMs, beganAtMs, endedAtMs }) => {
    const first = freeAtMs.indexOf(Math.min(...freeAtMs))
    const startMs = Math.max(sentAtMs, freeAtMs[first] ?? 0)
    freeAtMs[first] = startMs + endedAtMs - beganAtMs
    return startMs - sentAtMs
  })
}

/** For each time that an instance stood idle: how long the request that waited longest in that time waited in it. */
function freeWhileWaiting(samples: readonly Sample[]): number[] {
  const byInstance = new Map<string, Sample[]>()
  for (const sample of samples) {
    const list = byInstance.get(sample.instance)
    if (list === undefined) byInstance.set(sample.instance, [sample])
    else list.push(sample)
  }
  const gaps: number[] = []
  for (const list of byInstance.values()) {
    list.sort((a, b) => a.beganAtMs - b.beganAtMs)
    for (const [at, sample] of list.entries()) {
      const next = list[at + 1]
      if (next === undefined) break
      const waits = samples.map(({ sentAtMs, beganAtMs }) => {
        return Math.min(beganAtMs, next.beganAtMs) - Math.max(sentAtMs, sample.endedAtMs)
      })
      gaps.push(Math.max(0, ...waits))
    }
  }
  return gaps
}

/** Mean, middle and ends. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (part: number): number => round(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0)
  const mean = round(sorted.reduce((sum, value) => sum + value, 0) / Math.max(1, sorted.length))
  return { mean, p50: at(0.5), p99: at(0.99), max: at(1) }
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
