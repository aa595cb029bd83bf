import type { Prng } from '@waiter/base'
import { isJoint } from '../config-change.ts'
import { type ConfChange, type ConfChangeSingle, type ConfState, NO_DATA, type NodeId } from '../types.ts'
import type { SimNode } from './sim-node.ts'
import type { World } from './world.ts'

const MAX_NODES = 12
const MIN_VOTERS = 3
const MAX_VOTERS = 7

/** Changes who is a member, as an operator under load would: add, promote, demote, remove, replace; one or many at once. */
export class Operator {
  readonly #world: World
  readonly #random: Prng

  constructor(world: World) {
    this.#world = world
    this.#random = world.fork('operator')
  }

  /** Proposes one change to the leader, and sometimes a second that must wait. */
  changeSomething(): void {
    const leader = this.#world.leader()
    if (leader === undefined) return
    const { conf } = leader.raw.status()
    const first = this.#drawChange(conf)
    const second = this.#random.next() < 0.3 ? this.#drawChange(conf) : undefined
    leader.request(raw => {
      if (first !== undefined) raw.proposeConfChange(first)
      if (second !== undefined) raw.proposeConfChange(second)
    })
  }

  /** Brings the cluster to rest: leaves a joint configuration, removes members whose disks are gone. */
  settle(leader: SimNode): void {
    const { conf, pendingConfIndex, applied } = leader.raw.status()
    if (pendingConfIndex > applied) return
    const gone = [...conf.voters, ...conf.learners].find(id => this.#world.nodes.get(id)?.isGone === true)
    if (isJoint(conf)) {
      if (!conf.autoLeave) leader.request(raw => raw.proposeConfChange(LEAVE))
    } else if (gone !== undefined) {
      leader.request(raw => raw.proposeConfChange(simple([{ kind: 'remove', id: gone }])))
    }
  }

  /** True when a node may lose its disk for good: nothing else is missing and nothing is changing. */
  canWipe(node: SimNode): boolean {
    const { conf } = node
    if (isJoint(conf) || conf.voters.length < MIN_VOTERS || !conf.voters.includes(node.id)) return false
    for (const other of this.#world.nodes.values()) {
      if (other.isGone && conf.voters.includes(other.id)) return false
      if (!other.isUp) return false
      const isMember = [...conf.voters, ...conf.learners].includes(other.id)
      if (isMember && other.conf !== conf && JSON.stringify(other.conf) !== JSON.stringify(conf)) return false
      if (other.raw.logEntries().some(entry => entry.kind === 'confChange' && entry.index > other.machine.applied)) {
        return false
      }
    }
    return true
  }

  #drawChange(conf: ConfState): ConfChange | undefined {
    const draw = this.#random.next()
    if (isJoint(conf)) return LEAVE
    const { voters, learners } = conf
    if (draw < 0.2) return this.#add('addLearner', conf)
    if (draw < 0.4 && learners.length > 0) return simple([{ kind: 'addVoter', id: this.#pick(learners) }])
    if (draw < 0.5 && voters.length < MAX_VOTERS) return this.#add('addVoter', conf)
    if (draw < 0.6 && voters.length > MIN_VOTERS) return simple([{ kind: 'remove', id: this.#pick(voters) }])
    if (draw < 0.7 && voters.length > MIN_VOTERS) return simple([{ kind: 'addLearner', id: this.#pick(voters) }])
    if (draw < 0.75 && learners.length > 0) return simple([{ kind: 'remove', id: this.#pick(learners) }])
    return this.#replace(conf)
  }

  #replace(conf: ConfState): ConfChange | undefined {
    const count = 1 + this.#random.below(2)
    const changes: ConfChangeSingle[] = []
    const added: NodeId[] = []
    for (let at = 0; at < count; at++) {
      const id = this.#outsider([...conf.voters, ...conf.learners, ...added])
      if (id === undefined) return undefined
      added.push(id)
      changes.push({ kind: 'addVoter', id })
    }
    const leaving = new Set<NodeId>()
    for (let at = 0; at < count; at++) leaving.add(this.#pick(conf.voters))
    for (const id of leaving) changes.push({ kind: this.#random.next() < 0.5 ? 'remove' : 'addLearner', id })
    return { changes, transition: this.#random.next() < 0.5 ? 'implicit' : 'explicit', context: NO_DATA }
  }

  #add(kind: 'addLearner' | 'addVoter', conf: ConfState): ConfChange | undefined {
    const id = this.#outsider([...conf.voters, ...conf.learners])
    return id === undefined ? undefined : simple([{ kind, id }])
  }

  /** A node that is not a member: one that was removed before, or a new one. */
  #outsider(members: readonly NodeId[]): NodeId | undefined {
    for (const node of this.#world.nodes.values()) if (node.isUp && !members.includes(node.id)) return node.id
    return this.#world.nodes.size < MAX_NODES ? this.#world.addNode().id : undefined
  }

  #pick(ids: readonly NodeId[]): NodeId {
    return ids[this.#random.below(ids.length)]!
  }
}

const LEAVE: ConfChange = { changes: [], transition: 'auto', context: NO_DATA }

function simple(changes: readonly ConfChangeSingle[]): ConfChange {
  return { changes, transition: 'auto', context: NO_DATA }
}
