import { assert } from '@waiter/base'
import { applyConfChange } from './config-change.ts'
import type { LogReader } from './log-storage.ts'
import { Machine } from './machine.ts'
import { switchToConf } from './membership.ts'
import { isLocalMessage, isResponseMessage, type Message } from './message.ts'
import type { ProposeOutcome } from './proposal.ts'
import type { ReadOutcome } from './reads.ts'
import { acceptReady, collectReady, hasReady, type Ready, type ReadyBaseline } from './ready.ts'
import type { RaftOptions } from './settings.ts'
import { computeStatus, type Status } from './status.ts'
import { step, tick } from './step.ts'
import {
  APPEND_THREAD,
  APPLY_THREAD,
  type ConfChange,
  type ConfState,
  type Entry,
  type LogIndex,
  type NodeId,
} from './types.ts'

/** What became of a message from the network. */
export type StepOutcome =
  | { readonly kind: 'stepped' }
  /** Not a message for this node; nothing happened. */
  | { readonly kind: 'ignored'; readonly reason: 'localMessage' | 'unknownPeer' }
  | ProposeOutcome

/**
 * One Raft node as a deterministic, synchronous machine: feed it ticks, messages and requests, then do what `ready()`
 * says and call `advance()`. Between `ready()` and `advance()` more input may be fed; only one Ready is out at a time.
 * Equal inputs (and an equal `random`) give equal outputs.
 *
 * @example
 * ```ts
 * const node = new RawNode({ id: 1, random: createPrng(1) }, new MemoryStorage({ conf }))
 * node.tick()
 * while (node.hasReady()) {
 *   const ready = node.ready()
 *   // … persist, send, apply: see Ready …
 *   node.advance()
 * }
 * ```
 */
export class RawNode {
  readonly #machine: Machine
  #baseline: ReadyBaseline
  /** What this node tells itself when the Ready that is out has been carried out; undefined: none is out. */
  #stepsOnAdvance: readonly Message[] | undefined

  constructor(options: RaftOptions, storage: LogReader) {
    this.#machine = new Machine(options, storage)
    // What the disk has: a commit index that restart found to be higher counts as a change.
    const { hardState } = storage.initialState()
    this.#baseline = { softState: this.#machine.softState, hardState }
  }

  get id(): NodeId {
    return this.#machine.id
  }

  /** One tick of the abstract clock. */
  tick(): void {
    tick(this.#machine)
  }

  /** Starts an election now (with a pre-vote if so configured). */
  campaign(): void {
    step(this.#machine, this.#local('MsgHup'))
  }

  /** A leader sends heartbeats now. */
  beat(): void {
    step(this.#machine, this.#local('MsgBeat'))
  }

  /** Asks to append `data`. See `ProposeOutcome` for what is known afterwards. */
  propose(data: Uint8Array): ProposeOutcome {
    return this.#propose({ ...this.#local('MsgProp'), entries: [{ kind: 'normal', data }] })
  }

  /**
   * Asks to append several entries at once: they travel in one message per follower, or all are dropped. In an
   * `appended` outcome `index` is that of the last; the others stand right before it.
   */
  proposeAll(datas: readonly Uint8Array[]): ProposeOutcome {
    assert(datas.length > 0, 'a proposal of no entries')
    const entries = datas.map(data => ({ kind: 'normal', data }) as const)
    return this.#propose({ ...this.#local('MsgProp'), entries })
  }

  /** Asks for a membership change. It takes effect when it is applied. */
  proposeConfChange(change: ConfChange): ProposeOutcome {
    return this.#propose({ ...this.#local('MsgProp'), entries: [{ kind: 'confChange', change }] })
  }

  /**
   * Asks for the index that makes a read linearizable. `readId` is returned in `Ready.reads`, or in
   * `Ready.droppedReads` when this node knows that no answer will come; messages may also be lost, so have a time-out.
   *
   * @param readId unique for ever: a retry needs a new one
   */
  readIndex(readId: string): ReadOutcome {
    return step(this.#machine, { ...this.#local('MsgReadIndex'), readId }) as ReadOutcome
  }

  /** Hands leadership to a voter; on a follower the wish is passed on to the leader. Gives up after an election time-out. */
  transferLeader(to: NodeId): void {
    step(this.#machine, { type: 'MsgTransferLeader', from: to, to: this.#machine.id, term: 0 })
  }

  /** A follower forgets its leader, so that it may vote at once. */
  forgetLeader(): void {
    step(this.#machine, this.#local('MsgForgetLeader'))
  }

  /** The transport could not reach a member. */
  reportUnreachable(peer: NodeId): void {
    step(this.#machine, { type: 'MsgUnreachable', from: peer, to: this.#machine.id, term: 0 })
  }

  /**
   * The process of a member is gone for certain, as a host knows that refuses connections to it. If it was the leader, the
   * next one is elected at once (rule E10). Told wrongly it costs an election at worst, and none while most voters hear it.
   */
  reportGone(peer: NodeId): void {
    step(this.#machine, { type: 'MsgGone', from: peer, to: this.#machine.id, term: 0 })
  }

  /** What became of a snapshot sent to a member. Must be called for every MsgSnap, or the member waits for ever. */
  reportSnapshot(peer: NodeId, isDelivered: boolean): void {
    step(this.#machine, { type: 'MsgSnapStatus', from: peer, to: this.#machine.id, term: 0, reject: !isDelivered })
  }

  /** Feeds a message from the network. */
  step(message: Message): StepOutcome {
    const isFromStorage = message.from === APPEND_THREAD || message.from === APPLY_THREAD
    if (isLocalMessage(message.type) && !isFromStorage) return { kind: 'ignored', reason: 'localMessage' }
    const { tracker, electors } = this.#machine
    // A candidate asks also those whom its log makes members (rule E11).
    const isKnown = tracker.progressById.has(message.from) || electors.has(message.from)
    if (isResponseMessage(message.type) && !isKnown) {
      return { kind: 'ignored', reason: 'unknownPeer' }
    }
    const answer = step(this.#machine, message)
    return answer === undefined || typeof answer === 'string' ? { kind: 'stepped' } : answer
  }

  hasReady(): boolean {
    return this.#stepsOnAdvance === undefined && hasReady(this.#machine, this.#baseline)
  }

  /** What to do now. Ends with `advance()`. */
  ready(): Ready {
    assert(this.#stepsOnAdvance === undefined, 'ready() before advance()')
    const ready = collectReady(this.#machine, this.#baseline)
    const steps = acceptReady(this.#machine, ready)
    // With asynchronous storage each Ready is followed up by its own responses.
    this.#stepsOnAdvance = this.#machine.settings.asyncStorageWrites ? undefined : steps
    this.#baseline = {
      softState: ready.softState ?? this.#baseline.softState,
      hardState: ready.hardState ?? this.#baseline.hardState,
    }
    return ready
  }

  /** Looks at what `ready()` would say, without taking it. */
  peekReady(): Ready {
    return collectReady(this.#machine, this.#baseline)
  }

  /** Everything the last Ready asked for is done. */
  advance(): void {
    const steps = this.#stepsOnAdvance
    assert(steps !== undefined, 'advance() without ready()')
    this.#stepsOnAdvance = undefined
    for (const message of steps) step(this.#machine, message)
  }

  /** True between `ready()` and `advance()`. */
  get isReadyOut(): boolean {
    return this.#stepsOnAdvance !== undefined
  }

  /**
   * Makes a committed membership change effective: call it for each `confChange` entry while applying. A driver may
   * refuse a change by applying one without changes and with `update` only.
   *
   * @returns the new configuration, to be stored with snapshots
   */
  applyConfChange(change: ConfChange): ConfState {
    const machine = this.#machine
    const next = applyConfChange(machine.tracker.conf, change)
    assert(next.ok, `a committed membership change cannot be applied: ${next.ok ? '' : next.error}`)
    switchToConf(machine, next.value)
    return machine.tracker.conf
  }

  /** Campaigns after so many ticks without a leader, until the next term or role draws anew. For tests and scripts. */
  setRandomizedElectionTicks(ticks: number): void {
    assert(Number.isSafeInteger(ticks) && ticks > 0, `an election after ${ticks} ticks`)
    this.#machine.randomizedElectionTicks = ticks
  }

  status(): Status {
    return computeStatus(this.#machine)
  }

  /** The term of an entry; undefined when compacted or not there. For checkers and operators. */
  logTerm(index: LogIndex): number | undefined {
    return this.#machine.log.term(index)
  }

  /** All entries that can still be read, durable or not. */
  logEntries(): readonly Entry[] {
    const { log } = this.#machine
    return log.entriesFrom(log.firstIndex(), Number.POSITIVE_INFINITY) ?? []
  }

  #local<T extends Message['type']>(type: T): { type: T; from: NodeId; to: NodeId; term: number } {
    return { type, from: this.#machine.id, to: this.#machine.id, term: 0 }
  }

  #propose(message: Message): ProposeOutcome {
    return step(this.#machine, message) as ProposeOutcome
  }
}
