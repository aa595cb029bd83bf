import { FaultInjector } from './fault-injector.ts'
import { Healing } from './healing.ts'
import { isLinearizable } from './linearizability.ts'
import type { Mutant } from './mutants/mutant.ts'
import { Operator } from './operator.ts'
import { drawProfile, type FaultKind } from './profile.ts'
import { type KeyedOperation, SimClient } from './sim-client.ts'
import { Violation } from './violation.ts'
import { World } from './world.ts'

/** What to run. */
export interface SimulationOptions {
  readonly seed: number
  readonly mutant?: Mutant
  readonly without?: ReadonlySet<FaultKind>
  readonly onTrace?: (line: string) => void
}

/** What came of it. */
export interface SimulationResult {
  readonly seed: number
  readonly events: number
  readonly traceHash: string
  readonly faults: readonly FaultKind[]
  readonly violation: { readonly check: string; readonly message: string; readonly atMs: number } | undefined
  readonly operations: number
  readonly committed: number
  readonly maxTerm: number
}

/** Runs one seed: a phase of faults, then the liveness phase, then the checks of the whole history. */
export function simulate(options: SimulationOptions): SimulationResult {
  const profile = drawProfile(options.seed, options.without)
  const { mutant, onTrace } = options
  const world = new World(profile, {
    ...(mutant?.rules === undefined ? {} : { rules: mutant.rules }),
    ...(mutant?.driverRules === undefined ? {} : { driverRules: mutant.driverRules }),
    ...(onTrace === undefined ? {} : { onTrace }),
  })
  const history: KeyedOperation[] = []
  const violation = catchViolation(world, () => run(world, history))
  return {
    seed: options.seed,
    events: world.eventCount,
    traceHash: world.traceHash,
    faults: [...profile.enabled],
    violation,
    operations: history.length,
    committed: world.checker.committedIndex,
    maxTerm: Math.max(0, ...world.upNodes().map(node => node.raw.status().hardState.term)),
  }
}

function run(world: World, history: KeyedOperation[]): void {
  const { profile } = world
  const clients = Array.from({ length: profile.clientCount }, (_, id) => new SimClient(world, id + 1, history))
  const operator = new Operator(world)
  const faults = new FaultInjector(world, operator)
  while (world.nowMs < profile.faultPhaseMs && world.runNext());
  world.trace('heal')
  faults.heal()
  new Healing(world, operator, clients).run()
  world.oracle.checkNothingLost(Math.min(...world.upNodes().map(node => node.machine.applied)))
  checkLinearizability([...history, ...clients.flatMap(client => client.unknownOperations())])
}

function checkLinearizability(history: readonly KeyedOperation[]): void {
  for (const key of new Set(history.map(operation => operation.key))) {
    if (isLinearizable(history.filter(operation => operation.key === key))) continue
    throw new Violation('linearizability', `the history of ${key} has no order that explains it`)
  }
}

function catchViolation(world: World, body: () => void): SimulationResult['violation'] {
  try {
    body()
    return undefined
  } catch (error) {
    const atMs = world.nowMs
    if (error instanceof Violation) return { check: error.check, message: error.message, atMs }
    // A failed assertion or a plain error inside the code under test is a finding too.
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return { check: 'assertion', message, atMs }
  }
}
