import type { Prng } from '@waiter/base'
import type { NodeId } from '../../index.ts'
import type { LinkProxy, LinkState } from './link-proxy.ts'
import type { Member } from './member.ts'

/** What faults act on. */
export interface Stage {
  readonly members: readonly Member[]
  link(from: NodeId, to: NodeId): LinkProxy
}

/** A fault that has begun; call it to end it. */
export type EndFault = () => Promise<void>

interface Fault {
  readonly name: string
  readonly minMs: number
  readonly maxMs: number
  begin(stage: Stage, random: Prng): Promise<EndFault>
}

const NOTHING_TO_END: EndFault = async () => undefined

const leaderOf = ({ members }: Stage): Member | undefined =>
  members.find(member => member.leader === member.id && member.isUp)
const anyOf = <T>(all: readonly T[], random: Prng): T => all[random.below(all.length)]!
const leaderOrAny = (stage: Stage, random: Prng): Member => leaderOf(stage) ?? anyOf(stage.members, random)
const others = (stage: Stage, member: Member): readonly Member[] => stage.members.filter(other => other !== member)

async function killed(members: readonly Member[]): Promise<EndFault> {
  await Promise.all(members.map(member => member.kill()))
  return async () => void (await Promise.all(members.map(member => member.start())))
}

async function paused(members: readonly Member[]): Promise<EndFault> {
  for (const member of members) member.pause()
  return async () => {
    for (const member of members) member.resume()
  }
}

async function linked(links: readonly LinkProxy[], state: LinkState): Promise<EndFault> {
  for (const link of links) link.set(state)
  return async () => {
    for (const link of links) link.set({ kind: 'open' })
  }
}

const between = (stage: Stage, a: Member, b: Member): LinkProxy[] => [stage.link(a.id, b.id), stage.link(b.id, a.id)]
const around = (stage: Stage, member: Member): LinkProxy[] =>
  others(stage, member).flatMap(other => between(stage, member, other))
const cut = (random: Prng): LinkState => ({ kind: anyOf(['reset', 'silent', 'refused'] as const, random) })

/** What happens to processes: kill -9 and SIGSTOP. */
export const PROCESS_FAULTS: readonly Fault[] = [
  { name: 'killLeader', minMs: 100, maxMs: 2000, begin: (stage, random) => killed([leaderOrAny(stage, random)]) },
  { name: 'pauseLeader', minMs: 300, maxMs: 4000, begin: (stage, random) => paused([leaderOrAny(stage, random)]) },
  { name: 'killOne', minMs: 100, maxMs: 4000, begin: (stage, random) => killed([anyOf(stage.members, random)]) },
  { name: 'pauseOne', minMs: 300, maxMs: 4000, begin: (stage, random) => paused([anyOf(stage.members, random)]) },
  {
    name: 'killMajority',
    minMs: 100,
    maxMs: 1000,
    begin: (stage, random) => killed(others(stage, anyOf(stage.members, random))),
  },
  { name: 'killAll', minMs: 0, maxMs: 500, begin: stage => killed(stage.members) },
  {
    name: 'pauseMajority',
    minMs: 300,
    maxMs: 2000,
    begin: (stage, random) => paused(others(stage, anyOf(stage.members, random))),
  },
  {
    name: 'transfer',
    minMs: 0,
    maxMs: 500,
    begin: async (stage, random) => {
      const leader = leaderOrAny(stage, random)
      const to = anyOf(others(stage, leader), random).id
      // Whether it succeeds is not the point.
      if (leader.isUp) await leader.ask({ kind: 'transfer', to }, 1500).catch(() => undefined)
      return NOTHING_TO_END
    },
  },
]

/** What happens to the links between them. */
export const NETWORK_FAULTS: readonly Fault[] = [
  {
    name: 'isolateLeader',
    minMs: 500,
    maxMs: 5000,
    begin: (stage, random) => linked(around(stage, leaderOrAny(stage, random)), cut(random)),
  },
  {
    name: 'isolateOne',
    minMs: 500,
    maxMs: 5000,
    begin: (stage, random) => linked(around(stage, anyOf(stage.members, random)), cut(random)),
  },
  {
    name: 'cutOnePair',
    minMs: 500,
    maxMs: 4000,
    begin: (stage, random) => {
      const one = anyOf(stage.members, random)
      return linked(between(stage, one, anyOf(others(stage, one), random)), cut(random))
    },
  },
  {
    name: 'cutOneDirection',
    minMs: 500,
    maxMs: 4000,
    begin: (stage, random) => {
      const one = leaderOrAny(stage, random)
      const link = others(stage, one).map(other =>
        random.next() < 0.5 ? stage.link(one.id, other.id) : stage.link(other.id, one.id),
      )
      return linked(link, cut(random))
    },
  },
  {
    name: 'slowLinks',
    minMs: 500,
    maxMs: 4000,
    begin: (stage, random) => {
      const state: LinkState = { kind: 'slow', delayMs: 10 + random.below(300) }
      return linked(around(stage, anyOf(stage.members, random)), state)
    },
  },
  {
    name: 'cutEverything',
    minMs: 300,
    maxMs: 2000,
    begin: (stage, random) =>
      linked(
        stage.members.flatMap(member => around(stage, member)),
        cut(random),
      ),
  },
]

/** Pause between faults of one kind. */
const CALM_MS_MAX = 3000

/**
 * Lets faults of one kind happen, one after the other, until told to stop; each kind once before any comes again. Every
 * fault that began is ended.
 */
export async function injectFaults(
  faults: readonly Fault[],
  options: {
    readonly stage: Stage
    readonly random: Prng
    readonly signal: AbortSignal
    readonly onBegin: (name: string) => void
  },
): Promise<void> {
  const { stage, random, signal, onBegin } = options
  let bag: Fault[] = [...faults]
  while (!signal.aborted) {
    await pause(random.below(CALM_MS_MAX), signal)
    if (signal.aborted) return
    const fault = bag.shift()!
    if (bag.length === 0) bag = shuffled(faults, random)
    onBegin(fault.name)
    const end = await fault.begin(stage, random)
    await pause(fault.minMs + random.below(fault.maxMs - fault.minMs), signal)
    await end()
  }
}

function shuffled<T>(all: readonly T[], random: Prng): T[] {
  const copy = [...all]
  for (let at = copy.length - 1; at > 0; at--) {
    const other = random.below(at + 1)
    ;[copy[at], copy[other]] = [copy[other]!, copy[at]!]
  }
  return copy
}

/** Real time passes, or the run ends. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done, { once: true })
  })
}
