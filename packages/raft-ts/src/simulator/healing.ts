import { isJoint, isSameConf } from '../config-change.ts'
import type { Operator } from './operator.ts'
import type { SimClient } from './sim-client.ts'
import type { SimNode } from './sim-node.ts'
import { Violation } from './violation.ts'
import type { World } from './world.ts'

const SETTLE_DEADLINE_MS = 20_000
const READ_DEADLINE_MS = 10_000
const POLL_MS = 50
/** Long enough for a cut-off follower to have campaigned several times over. */
const MESH_ELECTIONS = 6
/** Told one after the other, for so many ticks each: several times an election time-out. */
const RUMOUR_VICTIMS = 2
const RUMOUR_TICKS = 40

/**
 * The liveness phase: with every fault gone a cluster must come to rest, a new leader must serve reads without any
 * write, and one broken link must not unseat a leader.
 */
export class Healing {
  readonly #world: World
  readonly #operator: Operator
  readonly #clients: readonly SimClient[]

  constructor(world: World, operator: Operator, clients: readonly SimClient[]) {
    this.#world = world
    this.#operator = operator
    this.#clients = clients
  }

  /** Runs all of it. @throws {Violation} `liveness` */
  run(): void {
    this.#runFor(300)
    for (const client of this.#clients) client.isStopped = true
    this.#await('settles', SETTLE_DEADLINE_MS, () => this.#tryToSettle())
    this.#checkReadsAfterElection()
    this.#await('settles again', SETTLE_DEADLINE_MS, () => this.#tryToSettle())
    this.#checkPartialMesh()
    this.#await('settles once more', SETTLE_DEADLINE_MS, () => this.#tryToSettle())
    this.#checkRumours()
  }

  #tryToSettle(): boolean {
    const leader = this.#world.leader()
    if (leader === undefined || this.#isAnyonePaused()) return false
    this.#operator.settle(leader)
    const status = leader.raw.status()
    const { conf, hardState, lastIndex, applied } = status
    if (isJoint(conf) || applied !== lastIndex || hardState.commit !== lastIndex) return false
    const members = [...conf.voters, ...conf.learners]
    // Whoever is not a member would be switched off by its operator, and must be: it may campaign for ever.
    for (const node of this.#world.upNodes()) if (!members.includes(node.id)) this.#world.crashNode(node)
    if (!this.#clients.every(client => client.isIdle)) return false
    return members.every(id => this.#isSettled(this.#world.nodes.get(id), leader))
  }

  #isAnyonePaused(): boolean {
    return this.#world.upNodes().some(node => node.pausedUntilMs > this.#world.nowMs)
  }

  #isSettled(node: SimNode | undefined, leader: SimNode): boolean {
    if (node === undefined || !node.isUp) return false
    const [own, others] = [node.raw.status(), leader.raw.status()]
    return (
      own.leader === leader.id &&
      own.hardState.term === others.hardState.term &&
      own.hardState.commit === others.hardState.commit &&
      own.lastIndex === others.lastIndex &&
      node.machine.applied === leader.machine.applied &&
      node.machine.digest === leader.machine.digest &&
      isSameConf(own.conf, others.conf)
    )
  }

  #checkReadsAfterElection(): void {
    const before = this.#world.leader()!
    const { term } = before.raw.status().hardState
    const candidates = before.raw.status().conf.voters.filter(id => id !== before.id)
    if (candidates.length > 0) {
      let at = 0
      this.#await('elects another leader', READ_DEADLINE_MS, () => {
        const leader = this.#world.leader()
        if (leader !== undefined && leader.raw.status().hardState.term > term) return true
        if (at % 20 === 0) leader?.request(raw => raw.transferLeader(candidates[(at / 20) % candidates.length]!))
        at++
        return false
      })
    }
    for (const node of this.#world.upNodes()) this.#checkRead(node)
  }

  #checkRead(node: SimNode): void {
    let isAnswered = false
    let at = 0
    this.#await(`answers a read on node ${node.id} without any write`, READ_DEADLINE_MS, () => {
      // The request itself may be lost to a change of leader: ask again every now and then.
      if (!isAnswered && at++ % 10 === 0) {
        node.onClientRequest({ kind: 'read', key: 'k0' }, reply => {
          if (reply.kind === 'value') isAnswered = true
        })
      }
      return isAnswered
    })
  }

  #checkPartialMesh(): void {
    const { settings, tickMs } = this.#world.profile
    const leader = this.#world.leader()!
    const { hardState, conf } = leader.raw.status()
    const follower = conf.voters.find(id => id !== leader.id)
    if (settings.preVote !== true || settings.checkQuorum !== true || conf.voters.length < 3 || follower === undefined)
      return
    const durationMs = MESH_ELECTIONS * 2 * (settings.electionTicks ?? 10) * tickMs
    this.#world.network.cut(leader.id, follower, this.#world.nowMs + durationMs)
    this.#world.network.cut(follower, leader.id, this.#world.nowMs + durationMs)
    this.#runFor(durationMs)
    const after = this.#world.leader()
    if (after === leader && after.raw.status().hardState.term === hardState.term) return
    throw new Violation('liveness', `leader ${leader.id} was unseated by one broken link to ${follower}`)
  }

  /** One member whose connection to the leader flaps, and is taken for the leader's end each time, disturbs nobody (rule E10). */
  #checkRumours(): void {
    const { settings, tickMs } = this.#world.profile
    const leader = this.#world.leader()!
    const { hardState, conf } = leader.raw.status()
    const others = conf.voters.filter(id => id !== leader.id)
    if (settings.preVote !== true || settings.checkQuorum !== true || others.length < 2) return
    for (const id of others.slice(0, RUMOUR_VICTIMS)) {
      for (let tick = 0; tick < RUMOUR_TICKS; tick++) {
        this.#world.nodes.get(id)?.request(raw => raw.reportGone(leader.id))
        this.#runFor(tickMs)
      }
      // It hears the leader again before the next one is told: two at once may be a majority.
      this.#runFor(RUMOUR_TICKS * tickMs)
    }
    const after = this.#world.leader()
    if (after === leader && after.raw.status().hardState.term === hardState.term) return
    throw new Violation('liveness', `leader ${leader.id} was unseated by rumours of its end`)
  }

  #runFor(durationMs: number): void {
    const untilMs = this.#world.nowMs + durationMs
    let isOver = false
    this.#world.schedule(durationMs, () => {
      isOver = true
    })
    while (!isOver && this.#world.runNext());
    if (this.#world.nowMs < untilMs) throw new Violation('liveness', 'nothing happens any more')
  }

  #await(what: string, deadlineMs: number, isDone: () => boolean): void {
    const untilMs = this.#world.nowMs + deadlineMs
    while (!isDone()) {
      if (this.#world.nowMs >= untilMs)
        throw new Violation('liveness', `the healed cluster never ${what}: ${this.#describe()}`)
      this.#runFor(POLL_MS)
    }
  }

  #describe(): string {
    const nodes = this.#world.upNodes().map(({ id, raw }) => {
      const { role, leader, hardState, applied, lastIndex } = raw.status()
      return `${id} ${role} leader=${leader} term=${hardState.term} commit=${hardState.commit}/${applied}/${lastIndex}`
    })
    return nodes.join('; ')
  }
}
