import { EventQueue, type Prng } from '@waiter/base'
import { RULES, type Rules } from '../rules.ts'
import type { ConfState, NodeId } from '../types.ts'
import { EMPTY_CONF } from '../types.ts'
import { Checker } from './checker.ts'
import { DRIVER_RULES, type DriverRules } from './driver-rules.ts'
import { Oracle } from './oracle.ts'
import { exponentialMs, forkPrng, type Profile } from './profile.ts'
import { SimNetwork } from './sim-network.ts'
import { SimNode } from './sim-node.ts'

/** How a world differs from what production would do: planted bugs, and who listens. */
export interface WorldOptions {
  readonly rules?: Partial<Rules>
  readonly driverRules?: Partial<DriverRules>
  /** Gets one line per event. */
  readonly onTrace?: (line: string) => void
}

/** Everything a run consists of, driven by one queue of events in virtual time. One thread, no promises. */
export class World {
  readonly profile: Profile
  readonly rules: Rules
  readonly driverRules: DriverRules
  readonly nodes: Map<NodeId, SimNode> = new Map()
  readonly network: SimNetwork
  readonly checker: Checker
  readonly oracle: Oracle = new Oracle()
  readonly #queue = new EventQueue()
  readonly #diskRandom: Prng
  readonly #goneRandom: Prng
  readonly #onTrace: ((line: string) => void) | undefined
  #nextNodeId = 1
  #hash = 0x811c9dc5
  #hash2 = 0x1b873593
  nowMs = 0
  eventCount = 0
  isHealed = false

  constructor(profile: Profile, options: WorldOptions = {}) {
    this.profile = profile
    this.rules = { ...RULES, ...options.rules }
    this.driverRules = { ...DRIVER_RULES, ...options.driverRules }
    this.#onTrace = options.onTrace
    this.#diskRandom = this.fork('disk')
    this.#goneRandom = this.fork('gone')
    this.network = new SimNetwork(this)
    const voters = Array.from({ length: profile.nodeCount }, (_, at) => at + 1)
    const initial: ConfState = { ...EMPTY_CONF, voters }
    const maxInflightMessages = profile.settings.maxInflightMessages ?? 0
    this.checker = new Checker({ nodes: this.nodes, initial, maxInflightMessages })
    for (const _ of voters) this.addNode(initial)
  }

  get isTracing(): boolean {
    return this.#onTrace !== undefined
  }

  /** Two runs of one seed are equal exactly when these are. */
  get traceHash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0') + (this.#hash2 >>> 0).toString(16).padStart(8, '0')
  }

  fork(label: string): Prng {
    return forkPrng(this.profile.seed, label)
  }

  trace(line: string): void {
    this.#onTrace?.(`${String(this.nowMs).padStart(6)} ${line}`)
  }

  /** Adds an event to the trace hash. */
  note(kind: number, a: number = 0, b: number = 0, c: number = 0, d: number = 0): void {
    let hash = this.#hash
    for (const value of [kind, this.nowMs, a, b, c, d]) {
      hash = Math.imul(hash ^ value, 0x01000193)
      hash ^= hash >>> 13
    }
    this.#hash = hash
    this.#hash2 = (Math.imul(this.#hash2, 31) + hash) | 0
  }

  schedule(delayMs: number, run: () => void): void {
    this.#queue.push(this.nowMs + delayMs, run)
  }

  /** Runs on a node: lost when it is down then, late when it is paused then. */
  scheduleOn(node: SimNode, delayMs: number, run: () => void): void {
    this.schedule(delayMs, () => {
      if (!node.isUp) return
      if (node.pausedUntilMs > this.nowMs) this.scheduleOn(node, node.pausedUntilMs - this.nowMs, run)
      else run()
    })
  }

  /** Runs the next event. @returns false when there is none */
  runNext(): boolean {
    const event = this.#queue.pop()
    if (event === undefined) return false
    this.nowMs = event.atMs
    this.eventCount++
    event.run()
    return true
  }

  addNode(conf: ConfState = EMPTY_CONF, id: NodeId = this.#nextNodeId): SimNode {
    this.#nextNodeId = Math.max(this.#nextNodeId, id + 1)
    const node = new SimNode(this, id, conf)
    this.nodes.set(id, node)
    node.start()
    return node
  }

  check(node: SimNode): void {
    this.checker.check(node)
  }

  crashNode(node: SimNode): void {
    if (!node.isUp) return
    this.note(4, node.id)
    this.trace(`crash ${node.id}`)
    node.crash()
    if (this.profile.enabled.has('gone')) this.#tellOfCrash(node.id)
  }

  /** Its host, which lives on, refuses connections to it: most of the others notice within some milliseconds. */
  #tellOfCrash(id: NodeId): void {
    for (const other of this.nodes.values()) {
      const [isTold, delayMs] = [
        this.#goneRandom.next() < 0.8,
        exponentialMs(this.#goneRandom, this.profile.meanDelayMs),
      ]
      const { incarnation } = other
      if (!isTold || other.id === id) continue
      this.scheduleOn(other, delayMs, () => {
        if (other.incarnation === incarnation) other.request(raw => raw.reportGone(id))
      })
    }
  }

  startNode(node: SimNode): void {
    if (node.isUp || node.isGone) return
    this.note(5, node.id)
    this.trace(`start ${node.id}`)
    node.start()
  }

  diskDelayMs(node: SimNode): number {
    const delayMs = exponentialMs(this.#diskRandom, this.isHealed ? 2 : this.profile.meanDiskMs)
    return delayMs + Math.max(0, node.stalledUntilMs - this.nowMs)
  }

  upNodes(): readonly SimNode[] {
    return [...this.nodes.values()].filter(node => node.isUp)
  }

  /** The leader with the highest term, as a global observer sees it. */
  leader(): SimNode | undefined {
    let best: SimNode | undefined
    let bestTerm = -1
    for (const node of this.nodes.values()) {
      if (!node.isUp) continue
      const { role, hardState } = node.raw.status()
      if (role !== 'leader' || hardState.term <= bestTerm) continue
      best = node
      bestTerm = hardState.term
    }
    return best
  }
}
