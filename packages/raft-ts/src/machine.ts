import { assert, type Term } from '@waiter/base'
import { RaftLog } from './log.ts'
import type { LogReader } from './log-storage.ts'
import { isPromise, type Message, type MsgVote, type OutgoingMessage } from './message.ts'
import { ReadQueue } from './read-queue.ts'
import { RULES, type Rules } from './rules.ts'
import { type RaftOptions, resolveSettings, type Settings } from './settings.ts'
import type { TraceEvent } from './trace.ts'
import { Tracker } from './tracker.ts'
import { type ConfState, type HardState, type LogIndex, NONE, type NodeId, type Role, type SoftState } from './types.ts'

/** A read whose index is known: serve it once `index` is applied. */
export interface ReadState {
  readonly readId: string
  readonly index: LogIndex
}

/**
 * The state of one node and the few changes every handler shares. The protocol itself is in the handlers
 * (`election.ts`, `append.ts`, `proposal.ts`, …), which take a machine as their first parameter.
 */
export class Machine {
  readonly id: NodeId
  readonly settings: Settings
  readonly rules: Rules
  readonly log: RaftLog
  readonly tracker: Tracker

  role: Role = 'follower'
  term: Term = 0
  vote: NodeId = NONE
  leader: NodeId = NONE

  electionElapsed = 0
  heartbeatElapsed = 0
  randomizedElectionTicks = 0
  /** The leader is gone for certain: a campaign begins after so many ticks, unless somebody leads by then; 0: none. */
  hastenedTicks = 0
  /** Asked for while the leader was heard, and not answered: is answered when the leader turns out to be gone (rule E10). */
  unansweredPreVote: MsgVote | undefined

  /** Of a candidate: the configurations in which it must win (rule E11). */
  electorates: readonly ConfState[] = []
  /** The voters of these. */
  electors: ReadonlySet<NodeId> = new Set()

  /** To whom leadership is being handed; proposals wait meanwhile. */
  transferee: NodeId = NONE
  /** No membership change may be proposed until this index is applied. */
  pendingConfIndex: LogIndex = 0
  /** Payload bytes proposed and not yet applied; only a leader counts. */
  uncommittedBytes = 0
  reads: ReadQueue = new ReadQueue()

  messages: Message[] = []
  messagesAfterAppend: Message[] = []
  readStates: ReadState[] = []
  /** Reads of this node that will never be answered. */
  droppedReads: string[] = []
  readonly trace: (event: TraceEvent) => void

  constructor(options: RaftOptions, storage: LogReader) {
    this.settings = resolveSettings(options)
    this.id = options.id
    this.rules = options.rules ?? RULES
    this.trace = options.trace ?? (() => undefined)
    this.log = new RaftLog(storage, this.settings.maxApplyBytes, !this.settings.asyncStorageWrites)
    this.tracker = new Tracker(this.settings)
    const { hardState, conf } = storage.initialState()
    this.#restart(hardState, conf, options.applied ?? 0)
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed }
  }

  get softState(): SoftState {
    return { leader: this.leader, role: this.role }
  }

  /** True when this node may become leader: a voter whose state is not about to be replaced. */
  get isPromotable(): boolean {
    const progress = this.tracker.progressById.get(this.id)
    return progress !== undefined && !progress.isLearner && this.log.unstable.snapshot === undefined
  }

  /** True when the present leader has been heard within the shortest election time-out (rule E6). */
  get isInLease(): boolean {
    return this.settings.checkQuorum && this.leader !== NONE && this.electionElapsed < this.settings.electionTicks
  }

  /** Queues a message; promises go where they wait for the disk. */
  send(outgoing: OutgoingMessage): void {
    const isTermless = outgoing.type === 'MsgProp' || outgoing.type === 'MsgReadIndex'
    const from = outgoing.from ?? this.id
    const message = { ...outgoing, from, term: outgoing.term ?? (isTermless ? 0 : this.term) } as Message
    if (isPromise(message.type)) this.messagesAfterAppend.push(message)
    else this.messages.push(message)
  }

  becomeFollower(term: Term, leader: NodeId): void {
    this.#reset(term)
    this.leader = leader
    this.#setRole('follower')
  }

  becomeCandidate(): void {
    assert(this.role !== 'leader', 'a leader became a candidate')
    this.#reset(this.term + 1)
    this.vote = this.id
    this.#setRole('candidate')
  }

  /** Changes neither term nor vote (rule E4). */
  becomePreCandidate(): void {
    assert(this.role !== 'leader', 'a leader became a pre-candidate')
    this.tracker.votes.clear()
    this.leader = NONE
    this.hastenedTicks = 0
    this.#setRole('preCandidate')
  }

  /** Only the state; writing the first entry is the caller's. */
  becomeLeader(): void {
    assert(this.role === 'candidate', `a ${this.role} became leader`)
    this.#reset(this.term)
    this.leader = this.id
    const own = this.tracker.progressById.get(this.id)
    assert(own !== undefined, 'a leader is a member')
    own.becomeReplicate()
    own.isRecentlyActive = true
    // The log may hold a change that is not applied yet; where it is does not matter, it is not after the last entry.
    this.pendingConfIndex = this.log.lastIndex()
    this.#setRole('leader')
  }

  abortTransfer(): void {
    if (this.transferee !== NONE) this.trace({ kind: 'transferAborted', to: this.transferee })
    this.transferee = NONE
  }

  resetElectionTimeout(): void {
    const { electionTicks, random } = this.settings
    this.randomizedElectionTicks = electionTicks + random.below(electionTicks)
  }

  #restart(hardState: HardState, conf: ConfState, applied: LogIndex): void {
    this.tracker.switchTo(conf, this.log.lastIndex())
    // The state machine is proof that what it holds was committed, however old the hint on disk is (rule D6).
    const commit = Math.max(hardState.commit, this.log.committed, applied)
    assert(commit <= this.log.lastIndex(), `committed ${commit} beyond the last entry ${this.log.lastIndex()}`)
    this.log.committed = commit
    if (applied > this.log.applied) this.log.appliedTo(applied, 0)
    this.vote = hardState.vote
    this.term = hardState.term
    this.becomeFollower(hardState.term, NONE)
  }

  #reset(term: Term): void {
    if (this.term !== term) {
      assert(term > this.term && Number.isSafeInteger(term), `the term went from ${this.term} to ${term}`)
      this.term = term
      this.vote = NONE
    }
    this.leader = NONE
    this.electionElapsed = 0
    this.heartbeatElapsed = 0
    this.hastenedTicks = 0
    this.unansweredPreVote = undefined
    this.resetElectionTimeout()
    this.abortTransfer()
    this.tracker.votes.clear()
    this.tracker.reset(this.id, this.log.lastIndex())
    this.pendingConfIndex = 0
    this.uncommittedBytes = 0
    for (const read of this.reads.takeAll()) if (read.from === this.id) this.droppedReads.push(read.readId)
    this.reads = new ReadQueue()
  }

  #setRole(role: Role): void {
    this.role = role
    if (role === 'leader' || role === 'follower') this.electors = new Set()
    this.trace({ kind: 'roleChanged', role, term: this.term, leader: this.leader })
  }
}
