import { isPresent } from '../member.ts'
import type { Effect } from '../message.ts'
import { runUntilAgreed } from './agreement.ts'
import { SimGroup, type SimNode } from './sim-group.ts'

/** How a group of one size does, over several runs. Times in virtual milliseconds. */
export interface Measurement {
  readonly size: number
  readonly runs: number
  /** All start at once with three seeds: until everybody knows everybody. */
  readonly joinMs: Spread
  /** One more member: rounds of gossip until everybody knows it. */
  readonly newcomerRounds: Spread
  /** One entry is written: rounds of rows until everybody reads it. */
  readonly rowRounds: Spread
  /** A process dies: until the first, and until the last, calls it dead. */
  readonly detectFirstMs: Spread
  readonly detectAllMs: Spread
  /** Deaths declared of members that lived, each counted once per observer, in a minute of each trouble. */
  readonly falseDeaths: Readonly<Record<Trouble, number>>
  /** The same, per member and hour. */
  readonly falseDeathsPerMemberHour: Readonly<Record<Trouble, number>>
  /** Packets per member and second while nothing happens. */
  readonly idlePacketsPerSecond: number
}

/** Of several runs. */
export interface Spread {
  readonly p50: number
  readonly max: number
}

/** What is done to the group for a minute. */
export type Trouble = 'loss5' | 'loss20' | 'oneWayLink' | 'pausedNode'

const TROUBLES: readonly Trouble[] = ['loss5', 'loss20', 'oneWayLink', 'pausedNode']
const LIMIT_MS = 60_000
const TROUBLE_MS = 60_000
const SETTLE_MS = 20_000
const STEP_MS = 5
const PAUSE_MS = 2_000
const PAUSE_EVERY_MS = 6_000

/** Measures a group of this size in `runs` runs. */
export function measure(size: number, runs: number): Measurement {
  const [join, newcomer, row, first, all, idle]: number[][] = [[], [], [], [], [], []]
  for (let seed = 1; seed <= runs; seed++) {
    const watch = new DeathWatch()
    const group = new SimGroup({ seed, size, watcher: watch })
    group.startAll()
    join!.push(runUntilAgreed(group, LIMIT_MS) ?? LIMIT_MS)
    group.runUntil(group.nowMs + SETTLE_MS)
    idle!.push(packetsPerSecond(group))
    row!.push(rowMs(group) / group.settings.rowIntervalMs)
    newcomer!.push(newcomerMs(group, size) / group.settings.gossipIntervalMs)
    const [detectFirstMs, detectAllMs] = detectionMs(group, watch)
    first!.push(detectFirstMs)
    all!.push(detectAllMs)
  }
  const falseDeaths = perTrouble(trouble => countFalseDeaths(size, runs, trouble))
  const memberHours = (size * runs * TROUBLE_MS) / 3_600_000
  return {
    size,
    runs,
    joinMs: spread(join!),
    newcomerRounds: spread(newcomer!),
    rowRounds: spread(row!),
    detectFirstMs: spread(first!),
    detectAllMs: spread(all!),
    falseDeaths,
    falseDeathsPerMemberHour: perTrouble(trouble => rounded(falseDeaths[trouble] / memberHours)),
    idlePacketsPerSecond: spread(idle!).p50,
  }
}

/** Notes who is called dead, and when first. */
class DeathWatch {
  readonly calledDeadAtMs = new Map<string, number>()
  group: SimGroup | undefined
  isUp: (id: string) => boolean = () => false
  falseDeaths = 0

  onEffect(_node: SimNode, effect: Effect): void {
    if (effect.kind !== 'member' || effect.state !== 'dead') return
    if (!this.calledDeadAtMs.has(effect.id)) this.calledDeadAtMs.set(effect.id, this.group?.nowMs ?? 0)
    if (this.isUp(effect.id)) this.falseDeaths++
  }
}

function packetsPerSecond(group: SimGroup): number {
  const before = group.packets
  const seconds = 5
  group.runUntil(group.nowMs + seconds * 1_000)
  return (group.packets - before) / seconds / group.nodes.length
}

function rowMs(group: SimGroup): number {
  const [writer] = group.nodes
  const startedAtMs = group.nowMs
  group.act(writer!, gossip => gossip.set('measured', 'now', { nowMs: startedAtMs }))
  const hasArrived = (node: SimNode): boolean => node.gossip.row(writer!.id, group.nowMs)?.get('measured') === 'now'
  return runUntilAll(group, hasArrived)
}

function newcomerMs(group: SimGroup, index: number): number {
  const { id } = group.start(index)
  const isKnown = (node: SimNode): boolean => node.id === id || node.gossip.members().some(member => member.id === id)
  return runUntilAll(group, isKnown)
}

function detectionMs(group: SimGroup, watch: DeathWatch): [number, number] {
  watch.group = group
  const victim = group.nodes.at(-2)!
  const crashedAtMs = group.nowMs
  group.crash(victim)
  const isNoticed = ({ gossip }: SimNode): boolean =>
    !gossip.members().some(({ id, state }) => id === victim.id && isPresent(state))
  const allMs = runUntilAll(group, isNoticed)
  return [(watch.calledDeadAtMs.get(victim.id) ?? LIMIT_MS) - crashedAtMs, allMs]
}

function runUntilAll(group: SimGroup, holds: (node: SimNode) => boolean): number {
  const startedAtMs = group.nowMs
  while (!group.upNodes().every(holds) && group.nowMs - startedAtMs < LIMIT_MS) group.runUntil(group.nowMs + STEP_MS)
  return group.nowMs - startedAtMs
}

function countFalseDeaths(size: number, runs: number, trouble: Trouble): number {
  let count = 0
  for (let seed = 1; seed <= runs; seed++) {
    const watch = new DeathWatch()
    const group = new SimGroup({ seed, size, watcher: watch })
    watch.group = group
    watch.isUp = id => group.nodes.some(node => node.id === id && node.isUp)
    group.startAll()
    runUntilAgreed(group, LIMIT_MS)
    makeTrouble(group, trouble)
    group.runUntil(group.nowMs + TROUBLE_MS)
    count += watch.falseDeaths
  }
  return count
}

function makeTrouble(group: SimGroup, trouble: Trouble): void {
  if (trouble === 'loss5') group.lossRate = 0.05
  else if (trouble === 'loss20') group.lossRate = 0.2
  else if (trouble === 'oneWayLink') group.cutLinks.add('0>1')
  else {
    const pause = (): void => {
      group.pause(group.nodes[0]!, PAUSE_MS)
      group.schedule(PAUSE_EVERY_MS, pause)
    }
    pause()
  }
}

function perTrouble(count: (trouble: Trouble) => number): Record<Trouble, number> {
  return Object.fromEntries(TROUBLES.map(trouble => [trouble, count(trouble)])) as Record<Trouble, number>
}

function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  return { p50: rounded(sorted[sorted.length >> 1] ?? 0), max: rounded(sorted.at(-1) ?? 0) }
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10
}
