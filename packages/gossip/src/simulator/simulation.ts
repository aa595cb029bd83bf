import { disagreement, runUntilAgreed } from './agreement.ts'
import { Checks } from './checks.ts'
import { FaultInjector } from './fault-injector.ts'
import { type Mutant, rulesOf } from './mutants.ts'
import { drawProfile, type FaultKind } from './profile.ts'
import { SimGroup } from './sim-group.ts'
import { Violation } from './violation.ts'

/** What to run. */
export interface SimulationOptions {
  readonly seed: number
  readonly size?: number
  readonly mutant?: Mutant
}

/** What came of it. */
export interface SimulationResult {
  readonly seed: number
  readonly size: number
  readonly faults: readonly FaultKind[]
  readonly events: number
  readonly traceHash: number
  readonly falseDeaths: number
  readonly virtualMs: number
  /** From the repair of everything until everybody agreed. */
  readonly healingMs: number | undefined
  readonly violation: { readonly check: string; readonly message: string; readonly atMs: number } | undefined
}

const JOIN_MS_MAX = 30_000
/** L1: one group again within so many periods of full exchange. */
const HEALING_PERIODS = 3
const QUIET_MS = 10_000

/** Runs one seed: everybody joins, a phase of faults, then everything is repaired and the group must come to agree. */
export function simulate({ seed, size, mutant }: SimulationOptions): SimulationResult {
  const profile = drawProfile(seed, size)
  const checks = new Checks(profile)
  const group = new SimGroup({ ...profile, rules: rulesOf(mutant), watcher: checks })
  checks.group = group
  let healingMs: number | undefined
  const violation = catchViolation(group, () => {
    for (let index = 0; index < profile.size; index++) checks.onStart({ id: `node-${index}` })
    group.startAll()
    runUntilAgreed(group, JOIN_MS_MAX)
    const faults = new FaultInjector(group, checks, profile)
    faults.start()
    group.runUntil(group.nowMs + profile.faultPhaseMs)
    faults.heal()
    healingMs = requireAgreement(group, checks)
    requireQuiet(group)
  })
  const { enabled } = profile
  const { events, traceHash, nowMs: virtualMs } = group
  const { falseDeaths } = checks
  const outcome = { events, traceHash, falseDeaths, virtualMs, healingMs, violation }
  return { seed, size: profile.size, faults: [...enabled], ...outcome }
}

/** L1 */
function requireAgreement(group: SimGroup, checks: Checks): number {
  checks.healedAtMs = group.nowMs
  const limitMs = HEALING_PERIODS * group.settings.pushPullIntervalMs
  const tookMs = runUntilAgreed(group, limitMs)
  if (tookMs !== undefined) return tookMs
  throw new Violation('agreement', `${limitMs} ms after everything was repaired ${disagreement(group)}`)
}

/** L2: when there is no news, nothing is told; and what was agreed on stays. */
function requireQuiet(group: SimGroup): void {
  group.runUntil(group.nowMs + QUIET_MS)
  const dispute = disagreement(group)
  if (dispute !== undefined) throw new Violation('agreement', `it was lost again: ${dispute}`)
  for (const node of group.upNodes()) {
    const { queued } = node.gossip.status()
    if (queued > 0) throw new Violation('quiet', `${node.id} still tells ${queued} old claims`)
  }
}

function catchViolation(group: SimGroup, body: () => void): SimulationResult['violation'] {
  try {
    body()
    return undefined
  } catch (error) {
    const atMs = Math.round(group.nowMs)
    if (error instanceof Violation) return { check: error.check, message: error.message, atMs }
    // A failed assertion or a plain error inside the code under test is a finding too.
    return {
      check: 'assertion',
      message: error instanceof Error ? (error.stack ?? error.message) : String(error),
      atMs,
    }
  }
}
