import { createPrng, type Prng } from '@waiter/base'
import type { RaftOptions } from '../settings.ts'

/** Everything that can be done to a cluster. A run can leave out any of them (`--without`). */
export const FAULT_KINDS = [
  'drop',
  'duplicate',
  'reorder',
  'partition',
  'cutLink',
  'oneWay',
  'slowLink',
  'crash',
  'tornWrite',
  'pause',
  'lag',
  'clockSkew',
  'diskStall',
  'fsyncError',
  'wipe',
  'membership',
  'transfer',
  'compact',
  'campaign',
  'gone',
] as const

/** One thing that can be done to a cluster. */
export type FaultKind = (typeof FAULT_KINDS)[number]

const LATER_KINDS: ReadonlySet<FaultKind> = new Set(['gone'])

/** What one seed draws before its run: which faults, how often, and how the cluster is set up. */
export interface Profile {
  readonly seed: number
  readonly enabled: ReadonlySet<FaultKind>
  readonly nodeCount: number
  readonly clientCount: number
  readonly keyCount: number
  readonly tickMs: number
  readonly faultPhaseMs: number
  /** Mean time between two faults of one enabled kind. */
  readonly meanFaultGapMs: number
  readonly dropRate: number
  readonly duplicateRate: number
  readonly meanDelayMs: number
  readonly meanDiskMs: number
  readonly meanThinkMs: number
  /** The state machine survives a crash by itself, or is rebuilt from the last snapshot and the log. */
  readonly isMachineDurable: boolean
  readonly trailingEntries: number
  readonly maxSessions: number
  readonly settings: Omit<RaftOptions, 'id' | 'random'>
}

/** A generator of its own for each part of a run, so that a draw more in one does not shift the others. */
export function forkPrng(seed: number, label: string): Prng {
  let hash = 2166136261 ^ seed
  for (let at = 0; at < label.length; at++) hash = Math.imul(hash ^ label.charCodeAt(at), 16777619)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  return createPrng(hash ^ (hash >>> 13))
}

/** Time until the next of something that happens every `meanMs` on average; at least 1 ms. */
export function exponentialMs(random: Prng, meanMs: number): number {
  return Math.max(1, Math.round(-Math.log(1 - random.next()) * meanMs))
}

/** Draws the profile of a seed. Swarm testing: most seeds lack most faults, which finds more than all of them at once. */
export function drawProfile(seed: number, without: ReadonlySet<FaultKind> = new Set()): Profile {
  const random = forkPrng(seed, 'profile')
  const share = 0.25 + random.next() * 0.6
  // A kind that came later draws from a source of its own: what the seeds of old runs found stays where it is.
  const drawOf = (kind: FaultKind): number =>
    (LATER_KINDS.has(kind) ? forkPrng(seed, `profile ${kind}`) : random).next()
  const drawn = FAULT_KINDS.filter(kind => drawOf(kind) < share)
  const pick = <T>(choices: readonly T[]): T => choices[random.below(choices.length)]!
  const guard = random.next()
  return {
    seed,
    enabled: new Set(drawn.filter(kind => !without.has(kind))),
    nodeCount: pick([3, 3, 3, 4, 5, 5, 7]),
    clientCount: 2 + random.below(6),
    keyCount: 1 + random.below(8),
    tickMs: 20,
    faultPhaseMs: 6000 + random.below(9000),
    meanFaultGapMs: pick([500, 1000, 2500]),
    dropRate: pick([0.01, 0.05, 0.15]),
    duplicateRate: pick([0.02, 0.1]),
    meanDelayMs: pick([1, 4, 10]),
    meanDiskMs: pick([1, 3, 12]),
    meanThinkMs: pick([5, 20, 60]),
    isMachineDurable: random.next() < 0.5,
    trailingEntries: pick([0, 2, 10]),
    maxSessions: pick([8, 64]),
    settings: {
      electionTicks: 10,
      heartbeatTicks: pick([1, 2, 3]),
      preVote: guard < 0.88,
      checkQuorum: guard < 0.8 || (guard > 0.88 && guard < 0.94),
      maxMessageBytes: pick([0, 60, 400, 100_000]),
      maxApplyBytes: pick([40, 200, 100_000]),
      maxUncommittedBytes: pick([300, 2000, 100_000]),
      maxInflightMessages: pick([1, 2, 8, 64]),
      maxInflightBytes: pick([100, 1000, Number.POSITIVE_INFINITY]),
      forwardProposals: random.next() < 0.2,
    },
  }
}
