import { createHash } from 'node:crypto'
import { createPrng, type Logger } from '@waiter/base'
import { FAULT_KINDS, FaultInjector, type FaultKind } from './faults.ts'
import type { Mutant } from './mutants.ts'
import { Violation } from './violation.ts'
import { Workload } from './workload.ts'
import { World } from './world.ts'

export interface SimulationOptions {
  readonly seed: number
  readonly mutant?: Mutant | undefined
  readonly log?: Logger
  /** Have a digest of everything that happens, to compare two runs. */
  readonly hasDigest?: boolean
}

export interface SimulationResult {
  readonly seed: number
  readonly routers: number
  readonly faults: readonly FaultKind[]
  readonly injected: number
  readonly events: number
  readonly virtualMs: number
  readonly requests: number
  readonly reigns: number
  readonly stops: number
  readonly givenUpAlive: number
  /** Of every event, every message and every grant, in order. */
  readonly digest?: string
  readonly violation: { readonly check: string; readonly message: string; readonly atMs: number } | undefined
}

const FAULTS_MS = 30_000
/** After everything is repaired, whoever waits must be served and all must follow one leader within this. */
const HEALING_MS_MAX = 45_000
/** A request that comes then is served within this, a cold start included. */
const PROBE_MS_MAX = 10_000
/** Unused services are deleted after a minute; with what came before, all must be gone by then. */
const COLLECTION_MS_MAX = 90_000
const ROUTERS_MIN = 3
const ROUTERS_MAX = 8

/** Runs one seed: a phase of load and faults, then everything is repaired, served, and in the end collected. */
export async function simulate({ seed, mutant, log, hasDigest = false }: SimulationOptions): Promise<SimulationResult> {
  const draw = createPrng(seed * 7 + 1)
  const routers = ROUTERS_MIN + draw.below(ROUTERS_MAX - ROUTERS_MIN + 1)
  const faults = FAULT_KINDS.filter(() => draw.below(2) === 0)
  const pauseMs = 200 + draw.below(2_500)
  const world = new World({ seed, routers, mutant, ...(log === undefined ? {} : { log }) })
  const injector = new FaultInjector(world, faults, pauseMs)
  const { time, checks } = world
  const hash = createHash('sha256')
  if (hasDigest) time.tellOf(what => hash.update(what))
  try {
    const workload = new Workload(world)
    await time.runUntil(2_000)
    workload.start()
    injector.start()
    await time.runUntil(2_000 + FAULTS_MS)
    injector.heal()
    workload.stop()
    await requireServed(world)
    await requireProbes(world)
    await requireCollected(world)
  } catch (error) {
    if (error instanceof Violation) checks.fail(error.check, error.message)
    else checks.fail('crash', error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
  const { accepts: requests, reigns, stops, givenUpAlive, violation } = checks
  const counts = { requests, reigns, stops, givenUpAlive }
  const { events, nowMs: virtualMs } = time
  const digest = hasDigest ? { digest: hash.digest('hex') } : {}
  return { seed, routers, faults, injected: injector.injected, events, virtualMs, ...counts, ...digest, violation }
}

async function requireServed(world: World): Promise<void> {
  const { time, checks } = world
  const isServed = (): boolean => world.livingRouters().every(({ requests }) => requests.size === 0)
  const areAgreed = (): boolean => {
    const leader = world.controls.find(({ leads }) => leads)
    return world
      .livingRouters()
      .every(({ agent }) => agent.leader.isConnected && agent.leader.leaderId === leader?.name)
  }
  await time.runUntil(time.nowMs + HEALING_MS_MAX, () => isServed() && areAgreed())
  if (!areAgreed()) throw new Violation('agreed', 'not all routers follow the one leader')
  if (!isServed()) {
    const left = world.livingRouters().filter(({ requests }) => requests.size > 0)
    const where = left.map(({ id, requests }) => `${requests.size} at ${id}`).join(', ')
    throw new Violation('served', `${HEALING_MS_MAX} ms after everything was repaired requests are left: ${where}`)
  }
  if (checks.answers + checks.vanishes !== checks.accepts)
    throw new Violation(
      'answered once',
      `${checks.accepts} accepted, ${checks.answers} answered, ${checks.vanishes} gone`,
    )
}

/** Now everybody gets what he asks for. */
async function requireProbes(world: World): Promise<void> {
  const { time } = world
  const PROBE_MS = 50
  for (const router of world.livingRouters())
    for (const definition of world.definitions) router.request(definition, PROBE_MS)
  await time.runUntil(time.nowMs + PROBE_MS_MAX, () =>
    world.livingRouters().every(({ requests }) => requests.size === 0),
  )
  for (const { id, requests } of world.livingRouters())
    if (requests.size > 0) throw new Violation('served', `${requests.size} probes at ${id} were not served`)
}

async function requireCollected(world: World): Promise<void> {
  const { time, scheduler } = world
  await time.runUntil(time.nowMs + COLLECTION_MS_MAX, () => scheduler.services.size === 0)
  const left = [...scheduler.services.keys()]
  if (left.length > 0) throw new Violation('collected', `unused services are still there: ${left.join(', ')}`)
}
