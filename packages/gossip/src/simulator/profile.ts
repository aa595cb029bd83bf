import { createPrng, type Prng } from '@waiter/base'

/** Everything that can be done to a group. */
export const FAULT_KINDS = ['loss', 'oneWay', 'pause', 'partition', 'crash', 'restart', 'clockBack', 'leave'] as const

/** One thing that can be done to a group. */
export type FaultKind = (typeof FAULT_KINDS)[number]

/** What a seed draws before its run. */
export interface Profile {
  readonly seed: number
  readonly size: number
  readonly enabled: ReadonlySet<FaultKind>
  readonly lossRate: number
  readonly meanDelayMs: number
  readonly faultPhaseMs: number
  readonly meanFaultGapMs: number
  readonly meanWriteGapMs: number
}

/** The groups that are simulated; small ones more often, because they are faster and break differently. */
const SIZES = [3, 3, 3, 3, 10, 10, 10, 50]

/** So many seeds have one kind of fault only: the strictest checks hold for those. */
const SINGLE_SHARE = 0.3

/** Draws the profile of a seed. Most seeds lack most faults, which finds more than all of them at once. */
export function drawProfile(seed: number, size?: number): Profile {
  const random = forkPrng(seed, 'profile')
  const share = 0.1 + random.next() * 0.6
  const drawn = FAULT_KINDS.filter(() => random.next() < share)
  const single = pick(FAULT_KINDS, random)
  const enabled = new Set(random.next() < SINGLE_SHARE ? [single] : drawn)
  const drawnSize = pick(SIZES, random)
  return {
    seed,
    size: size ?? drawnSize,
    enabled,
    lossRate: enabled.has('loss') ? pick([0.01, 0.05, 0.2], random) : 0,
    meanDelayMs: pick([1, 5, 15], random),
    faultPhaseMs: 20_000 + random.below(20_000),
    meanFaultGapMs: pick([1500, 3000, 6000], random),
    meanWriteGapMs: pick([100, 500], random),
  }
}

/** A generator of its own for each part, so that a draw more in one does not shift the others. */
export function forkPrng(seed: number, label: string): Prng {
  let hash = 2166136261 ^ seed
  for (let at = 0; at < label.length; at++) hash = Math.imul(hash ^ label.charCodeAt(at), 16777619)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  return createPrng(hash ^ (hash >>> 13))
}

/** Time until the next of something that happens every `meanMs` on average. */
export function exponentialMs(random: Prng, meanMs: number): number {
  return -Math.log(1 - random.next()) * meanMs
}

/** One of them. */
export function pick<T>(choices: readonly T[], random: Prng): T {
  return choices[random.below(choices.length)]!
}
