import { createPrng } from '../../packages/base/src/index.ts'
import type { Arrival } from './load.ts'

const SERVICE_MEANS_MAX = 20

export interface PlanOptions {
  readonly seed: number
  readonly routers: number
  /** Of all instances together. */
  readonly slots: number
  readonly meanMs: number
  readonly seconds: number
  readonly load: number
}

/** Poisson arrivals, exponential service times, any router. */
export function planArrivals({ seed, routers, slots, meanMs, seconds, load }: PlanOptions): Arrival[] {
  const prng = createPrng(seed)
  const exponential = (mean: number): number => -Math.log(1 - prng.next()) * mean
  const arrivals: Arrival[] = []
  for (let atMs = 0; atMs < seconds * 1_000; atMs += exponential(meanMs / slots / load)) {
    const serviceMs = Math.min(SERVICE_MEANS_MAX * meanMs, exponential(meanMs))
    arrivals.push({ atMs, router: prng.below(routers), serviceMs })
  }
  return arrivals
}
