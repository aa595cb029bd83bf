import type { MemberId } from '../member.ts'
import { isPresent } from '../member.ts'
import type { Effect } from '../message.ts'
import { suspicionBounds } from '../settings.ts'
import type { Profile } from './profile.ts'
import type { GroupWatcher, SimGroup, SimNode } from './sim-group.ts'
import { Violation } from './violation.ts'

interface WrittenEntry {
  readonly value: string
  readonly expiresAtMs: number
}

/** So long after a disturbance a node is called healthy again. */
const CALM_MS = 15_000
/** Lifetimes travel as what is left of them, so every hop, and every pause on the way, may add its delay. */
const EXPIRY_SLACK_MS = 15_000
/** Until nobody is told any more of a death that was declared at the last moment. */
const SETTLING_MS = 3_000

/** What must hold after every input of every node. */
export class Checks implements GroupWatcher {
  group!: SimGroup
  readonly #profile: Profile
  /** What an owner wrote, up to every version that left its process. */
  readonly #history = new Map<string, ReadonlyMap<string, WrittenEntry>>()
  readonly #written = new Map<MemberId, Map<string, WrittenEntry>>()
  readonly #incarnations = new Map<MemberId, number>()
  healedAtMs: number = Number.POSITIVE_INFINITY
  falseDeaths = 0

  constructor(profile: Profile) {
    this.#profile = profile
  }

  /** A node starts with an empty row. */
  onStart(node: { readonly id: MemberId }): void {
    this.#written.set(node.id, new Map())
  }

  onWrite(node: SimNode, key: string, entry: WrittenEntry | undefined): void {
    const row = this.#written.get(node.id)!
    if (entry === undefined) row.delete(key)
    else row.set(key, entry)
    this.#remember(node)
  }

  onEffect(node: SimNode, effect: Effect): void {
    if (effect.kind !== 'member') return
    const subject = this.group.nodes.find(({ id }) => id === effect.id)
    if (subject === undefined || subject.hasLeft) return
    if (effect.state === 'suspect') this.#checkAccusation(node, subject)
    if (effect.state !== 'dead' || !subject.isUp) return
    if (this.group.input === 'stream' && effect.previous === 'alive') {
      throw new Violation('hearsay', `${node.id} took the word of a full exchange for the death of ${subject.id}`)
    }
    this.#checkDeath(node, subject)
  }

  onInput(node: SimNode): void {
    this.#incarnations.set(node.id, Math.max(node.gossip.status().incarnation, this.#incarnations.get(node.id) ?? 0))
    this.#remember(node)
    this.#checkOwnRow(node)
    // Looking at everything after every input would cost more than it finds.
    if (this.group.events % 7 !== 0) return
    this.#checkIncarnations(node)
    this.#checkReplicas(node)
  }

  /** A single cut link, or a neighbour that was stopped, is no reason to suspect anybody healthy. */
  #checkAccusation(node: SimNode, subject: SimNode): void {
    const { enabled } = this.#profile
    const isMild = [...enabled].every(kind => kind === 'oneWay' || kind === 'pause')
    const isDisturbed = enabled.has('pause') && enabled.has('oneWay')
    if (!isMild || isDisturbed || !this.#isHealthy(subject)) return
    throw new Violation('accusation', `${node.id} suspects ${subject.id}, which is well`)
  }

  #checkDeath(node: SimNode, subject: SimNode): void {
    if (this.#isHealthy(subject)) this.falseDeaths++
    const { enabled, lossRate } = this.#profile
    const isCut = enabled.has('partition') || lossRate > 0.05
    if (!isCut && this.#isHealthy(subject)) {
      throw new Violation('false-death', `${node.id} declares ${subject.id} dead, which is well`)
    }
    const { maxMs } = suspicionBounds(this.group.settings, this.#profile.size)
    // Suspicions from before are over by then; new ones have no reason.
    if (this.group.nowMs > this.healedAtMs + maxMs + SETTLING_MS) {
      throw new Violation('false-death', `${node.id} declares ${subject.id} dead long after everything was repaired`)
    }
  }

  #isHealthy(node: SimNode): boolean {
    return node.isUp && node.pausedUntilMs <= this.group.nowMs && node.disturbedAtMs + CALM_MS < this.group.nowMs
  }

  #remember(node: SimNode): void {
    const position = node.gossip.rowPosition(node.id)!
    const name = `${node.id} ${position.generation} ${position.version}`
    if (!this.#history.has(name)) this.#history.set(name, new Map(this.#written.get(node.id)))
  }

  #checkOwnRow(node: SimNode): void {
    const row = node.gossip.row(node.id, this.group.nowMs)!
    const written = this.#written.get(node.id)!
    for (const [key, { value, expiresAtMs }] of written) {
      if (expiresAtMs > this.group.nowMs && row.get(key) !== value) {
        throw new Violation('own-row', `${node.id} wrote ${key}=${value} and reads ${row.get(key)}`)
      }
    }
    for (const key of row.keys()) {
      if (!written.has(key)) throw new Violation('own-row', `${node.id} did not write ${key}`)
    }
  }

  #checkIncarnations(node: SimNode): void {
    for (const { id, incarnation } of node.gossip.members()) {
      if (incarnation > (this.#incarnations.get(id) ?? 0)) {
        throw new Violation('incarnation', `${node.id} knows ${id} at ${incarnation}, which it never was`)
      }
    }
  }

  #checkReplicas(node: SimNode): void {
    const { nowMs } = this.group
    for (const { id, state } of node.gossip.members()) {
      const position = node.gossip.rowPosition(id)
      const row = node.gossip.row(id, nowMs)
      if (!isPresent(state) || position === undefined || row === undefined) continue
      const written = this.#history.get(`${id} ${position.generation} ${position.version}`)
      if (written === undefined) throw new Violation('replica', `${node.id} knows a row that ${id} never had`)
      for (const [key, { value, expiresAtMs }] of written) {
        if (expiresAtMs > nowMs && row.get(key) !== value) {
          throw new Violation('replica', `${node.id} reads ${key}=${row.get(key)} of ${id}, not ${value}`)
        }
      }
      for (const [key, value] of row) {
        const entry = written.get(key)
        if (entry?.value === value && entry.expiresAtMs + EXPIRY_SLACK_MS > nowMs) continue
        throw new Violation('replica', `${node.id} reads ${key}=${value} of ${id}, which is over`)
      }
    }
  }
}
