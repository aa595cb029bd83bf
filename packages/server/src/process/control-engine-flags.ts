import { getHeapStatistics } from 'node:v8'

/**
 * How much memory a control process may take for objects. V8 lets the old ones grow to some four times of what lives before
 * it collects them, unless it knows that there is not much room: with this bound, to less than twice. A leader of 10,000
 * services and 100 routers holds 280 MB of objects, and then takes 0.8 GB instead of 1.05 (benchmarks/leader/README.md).
 */
const OLD_SPACE_MB = 1_536
const FLAG = '--max-old-space-size'

/** @param given what whoever started this process asks of Node: a bound of his own stays */
export function controlEngineFlags(given: readonly string[]): readonly string[] {
  const BYTES_PER_MB = 2 ** 20
  if (given.some(text => text.replaceAll('_', '-').includes(FLAG))) return []
  // On a small machine Node's own bound is lower.
  const ownMb = Math.floor(getHeapStatistics().heap_size_limit / BYTES_PER_MB)
  return [`${FLAG}=${Math.min(OLD_SPACE_MB, ownMb)}`]
}
