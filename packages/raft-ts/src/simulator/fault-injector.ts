import type { Prng } from '@waiter/base'
import type { Operator } from './operator.ts'
import { exponentialMs, type FaultKind } from './profile.ts'
import type { SimNode } from './sim-node.ts'
import type { World } from './world.ts'

/** Does to the cluster what the profile says, each kind in its own rhythm, until it is stopped. */
export class FaultInjector {
  readonly #world: World
  readonly #operator: Operator
  #isStopped = false

  constructor(world: World, operator: Operator) {
    this.#world = world
    this.#operator = operator
    for (const kind of world.profile.enabled) this.#repeat(kind, world.fork(`fault ${kind}`))
  }

  /** Ends all faults: everything is repaired and everybody started. Who is paused wakes up in its time. */
  heal(): void {
    this.#isStopped = true
    const world = this.#world
    world.isHealed = true
    world.network.heal()
    for (const node of world.nodes.values()) {
      node.tickMs = world.profile.tickMs
      node.stalledUntilMs = 0
      node.failsNextSync = false
      world.startNode(node)
    }
  }

  #repeat(kind: FaultKind, random: Prng): void {
    const gapMs = exponentialMs(random, this.#world.profile.meanFaultGapMs * (GAP_FACTOR[kind] ?? 1))
    this.#world.schedule(gapMs, () => {
      if (this.#isStopped) return
      this.#inject(kind, random)
      this.#repeat(kind, random)
    })
  }

  #inject(kind: FaultKind, random: Prng): void {
    const world = this.#world
    const durationMs = 100 + random.below(1200)
    const node = this.#target(random)
    if (node === undefined) return
    world.note(7, kind.length, node.id)
    world.trace(`fault ${kind} ${node.id} ${durationMs} ms`)
    this.#actions[kind]?.({ node, random, durationMs, untilMs: world.nowMs + durationMs })
  }

  /** Kinds without an action are done to single messages and writes, not at moments. */
  readonly #actions: Partial<Record<FaultKind, (fault: Fault) => void>> = {
    partition: ({ random, untilMs }) => this.#partition(random, untilMs),
    cutLink: ({ node, random, untilMs }) => this.#cut(node, this.#other(random, node), { untilMs, isBothWays: true }),
    oneWay: ({ node, random, untilMs }) => this.#cut(node, this.#other(random, node), { untilMs, isBothWays: false }),
    slowLink: ({ node, random, untilMs }) => this.#world.network.slow(node.id, this.#other(random, node).id, untilMs),
    crash: ({ node, random, durationMs }) => this.#crash(random, node, durationMs),
    pause: ({ node, untilMs }) => {
      node.pausedUntilMs = Math.max(node.pausedUntilMs, untilMs)
    },
    lag: ({ node, random }) => {
      node.pausedUntilMs = Math.max(node.pausedUntilMs, this.#world.nowMs + 20 + random.below(130))
    },
    clockSkew: ({ node, random }) => {
      node.tickMs = Math.round(this.#world.profile.tickMs * (0.5 + random.next() * 1.5))
    },
    diskStall: ({ node, untilMs }) => {
      node.stalledUntilMs = untilMs
    },
    fsyncError: ({ node, durationMs }) => {
      node.failsNextSync = true
      this.#world.schedule(durationMs, () => this.#restart(node))
    },
    wipe: ({ node }) => this.#wipe(node),
    membership: () => this.#operator.changeSomething(),
    transfer: ({ node, random }) => node.request(raw => raw.transferLeader(this.#other(random, node).id)),
    compact: ({ node }) => node.compact(this.#world.profile.trailingEntries),
    campaign: ({ node }) => node.request(raw => raw.campaign()),
    // A rumour: nobody has gone. After a crash it is the truth, see `World.crashNode`.
    gone: ({ node, random }) => {
      for (const other of this.#world.upNodes()) if (random.next() < 0.5) other.request(raw => raw.reportGone(node.id))
    },
  }

  #target(random: Prng): SimNode | undefined {
    const [leaderDraw, up] = [random.next(), this.#world.upNodes()]
    const leader = leaderDraw < 0.35 ? this.#world.leader() : undefined
    return leader ?? up[random.below(Math.max(1, up.length))]
  }

  #other(random: Prng, node: SimNode): SimNode {
    const others = [...this.#world.nodes.values()].filter(candidate => candidate !== node)
    return others[random.below(others.length)] ?? node
  }

  #partition(random: Prng, untilMs: number): void {
    const isLeft = new Map([...this.#world.nodes.keys()].map(id => [id, random.next() < 0.5]))
    for (const [from, left] of isLeft) {
      for (const [to, otherLeft] of isLeft) if (left !== otherLeft) this.#world.network.cut(from, to, untilMs)
    }
  }

  #cut(a: SimNode, b: SimNode, how: { readonly untilMs: number; readonly isBothWays: boolean }): void {
    this.#world.network.cut(a.id, b.id, how.untilMs)
    if (how.isBothWays) this.#world.network.cut(b.id, a.id, how.untilMs)
  }

  #crash(random: Prng, node: SimNode, durationMs: number): void {
    const isOutage = random.next() < 0.1
    for (const victim of isOutage ? this.#world.upNodes() : [node]) {
      this.#world.crashNode(victim)
      this.#world.schedule(durationMs + random.below(50), () => this.#restart(victim))
    }
  }

  #restart(node: SimNode): void {
    if (!this.#isStopped && this.#world.nodes.get(node.id) === node) this.#world.startNode(node)
  }

  #wipe(node: SimNode): void {
    const world = this.#world
    if (!this.#operator.canWipe(node)) return
    world.crashNode(node)
    node.isGone = true
    world.trace(`node ${node.id} has lost its disk`)
    if (world.driverRules.reusesIdAfterWipe)
      world.addNode(node.disk.snapshot.index === 0 ? node.conf : undefined, node.id)
  }
}

/** One fault about to happen. */
interface Fault {
  readonly node: SimNode
  readonly random: Prng
  readonly durationMs: number
  readonly untilMs: number
}

/** How much rarer (or more frequent) than others a kind is. */
const GAP_FACTOR: Partial<Record<FaultKind, number>> = {
  compact: 0.5,
  membership: 0.7,
  clockSkew: 3,
  wipe: 3,
  campaign: 2,
  lag: 0.7,
}
