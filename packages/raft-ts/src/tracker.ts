import { Progress } from './progress.ts'
import { type ConfState, EMPTY_CONF, type LogIndex, type NodeId } from './types.ts'

/** Limits of what may be on its way to one follower. */
export interface InflightLimits {
  readonly maxInflightMessages: number
  readonly maxInflightBytes: number
}

/** The members with what the leader believes about each, and the votes of a running election. */
export class Tracker {
  conf: ConfState = EMPTY_CONF
  readonly progressById: Map<NodeId, Progress> = new Map()
  readonly votes: Map<NodeId, boolean> = new Map()
  #ids: readonly NodeId[] = []
  readonly #limits: InflightLimits

  constructor(limits: InflightLimits) {
    this.#limits = limits
  }

  /** All members, sorted: the order of every broadcast. */
  get ids(): readonly NodeId[] {
    return this.#ids
  }

  /** Takes over a new configuration: newcomers start one entry back, so that the first probe is cheap to answer. */
  switchTo(conf: ConfState, lastIndex: LogIndex): void {
    this.conf = conf
    const learners = new Set(conf.learners)
    const members = new Set([...conf.voters, ...conf.votersOutgoing, ...conf.learners])
    for (const id of this.progressById.keys()) if (!members.has(id)) this.progressById.delete(id)
    for (const id of members) {
      const known = this.progressById.get(id)
      if (known === undefined) {
        const next = Math.max(lastIndex, 1)
        this.progressById.set(id, this.#create({ match: 0, next, isLearner: learners.has(id), isRecentlyActive: true }))
      } else known.isLearner = learners.has(id)
    }
    this.#ids = [...members].sort((a, b) => a - b)
  }

  /** A new term: nothing is known about anybody but oneself. */
  reset(self: NodeId, lastIndex: LogIndex): void {
    for (const [id, { isLearner }] of this.progressById) {
      const match = id === self ? lastIndex : 0
      this.progressById.set(id, this.#create({ match, next: lastIndex + 1, isLearner, isRecentlyActive: false }))
    }
  }

  /** The first vote of a member counts; later ones are ignored. */
  recordVote(id: NodeId, isGranted: boolean): void {
    if (!this.votes.has(id)) this.votes.set(id, isGranted)
  }

  /** Whom the leader has heard since the last check; learners do not count. */
  activeVoters(): ReadonlyMap<NodeId, boolean> {
    const active = new Map<NodeId, boolean>()
    for (const [id, progress] of this.progressById) {
      if (!progress.isLearner) active.set(id, progress.isRecentlyActive)
    }
    return active
  }

  /** True when `self` is the only voter: it decides alone. */
  isSingleton(self: NodeId): boolean {
    return this.conf.voters.length === 1 && this.conf.votersOutgoing.length === 0 && this.conf.voters[0] === self
  }

  #create(start: { match: LogIndex; next: LogIndex; isLearner: boolean; isRecentlyActive: boolean }): Progress {
    return new Progress({ ...start, ...this.#limits })
  }
}
