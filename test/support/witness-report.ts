import { existsSync, readFileSync } from 'node:fs'

/** What the witnesses of one service said. */
export interface WitnessReport {
  /** Process ids, in order. */
  readonly started: readonly number[]
  /** Those that were asked to stop, with the requests that they were serving then. */
  readonly stopped: readonly { readonly pid: number; readonly serving: number }[]
  /** The most requests that any of them served at once. */
  readonly servedMost: number
}

/** Reads what `witness.ts` wrote. */
export function readWitnessReport(file: string): WitnessReport {
  const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []
  const facts = lines.map(line => {
    const [word, pid, count] = line.split(' ')
    return { word, pid: Number(pid), count: Number(count) }
  })
  return {
    started: facts.filter(({ word }) => word === 'started').map(({ pid }) => pid),
    stopped: facts.filter(({ word }) => word === 'stopped').map(({ pid, count }) => ({ pid, serving: count })),
    servedMost: Math.max(0, ...facts.filter(({ word }) => word === 'most').map(({ count }) => count)),
  }
}
