import type { Entry, LogIndex, ProposedEntry, ProposeOutcome, RawNode, StepOutcome } from '../index.ts'
import { RaftNodeError } from './errors.ts'
import type { Request } from './requests.ts'

/** What a proposal came to. */
export interface Committed<R> {
  readonly index: LogIndex
  readonly term: number
  readonly result: R
}

interface Waiting<R> {
  readonly term: number
  readonly request: Request<Committed<R>>
}

interface Queued<R> {
  readonly entry: ProposedEntry
  readonly request: Request<Committed<R>>
}

/** Limits of what waits on one node. */
export interface ProposalLimits {
  /** Proposals not yet handed to the protocol; more are dropped. */
  readonly maxQueuedProposals: number
  readonly maxQueuedBytes: number
  /** Data bytes that go into the log together. */
  readonly maxBatchBytes: number
}

/**
 * Proposals on their way: first queued, so that all of one turn enter the log as one batch, then waiting for their
 * place in the log to be applied.
 */
export class ProposalQueue<R> {
  readonly #limits: ProposalLimits
  #queue: Queued<R>[] = []
  #queuedBytes = 0
  /** By index; several leaderships may have put something there. */
  readonly #waiting = new Map<LogIndex, Waiting<R>[]>()

  constructor(limits: ProposalLimits) {
    this.#limits = limits
  }

  /** Takes a proposal, or rejects its request at once. */
  add(entry: ProposedEntry, request: Request<Committed<R>>): void {
    const bytes = dataBytes(entry)
    const { maxQueuedProposals, maxQueuedBytes } = this.#limits
    const isFull = this.#queue.length >= maxQueuedProposals || this.#queuedBytes + bytes > maxQueuedBytes
    if (isFull && this.#queue.length > 0) {
      const message = `This node has ${this.#queue.length} proposals queued and takes no more now; try again later.`
      request.reject(new RaftNodeError(message, { code: 'RAFT_DROPPED' }))
      return
    }
    this.#queue.push({ entry, request })
    this.#queuedBytes += bytes
  }

  /** Hands everything queued to the protocol. */
  flush(raw: RawNode): void {
    while (this.#queue.length > 0) {
      const batch = this.#takeBatch()
      if (batch.length > 0) this.#propose(raw, batch)
    }
  }

  /** An entry has been applied. `result` is computed only if somebody waits. */
  onApplied(entry: Entry, result: R): void {
    const waiting = this.#waiting.get(entry.index)
    if (waiting === undefined) return
    this.#waiting.delete(entry.index)
    for (const { term, request } of waiting) {
      if (term === entry.term) request.resolve({ index: entry.index, term, result })
      else request.reject(overwritten(entry))
    }
  }

  /** A snapshot jumped over these places: what stood there is not known here. */
  onSnapshot(through: LogIndex): void {
    for (const [index, waiting] of this.#waiting) {
      if (index > through) continue
      this.#waiting.delete(index)
      for (const { request } of waiting) request.reject(outcomeUnknown(index))
    }
  }

  // Consecutive entries up to the byte limit, at least one; a membership change stands alone.
  #takeBatch(): Queued<R>[] {
    const batch: Queued<R>[] = []
    let bytes = 0
    let taken = 0
    for (const queued of this.#queue) {
      const size = dataBytes(queued.entry)
      const isChange = queued.entry.kind === 'confChange'
      if (batch.length > 0 && (isChange || bytes + size > this.#limits.maxBatchBytes)) break
      taken++
      this.#queuedBytes -= size
      // Whose caller has given up meanwhile is not proposed.
      if (queued.request.isSettled) continue
      batch.push(queued)
      bytes += size
      if (isChange) break
    }
    this.#queue = this.#queue.slice(taken)
    return batch
  }

  #propose(raw: RawNode, batch: readonly Queued<R>[]): void {
    const entries = batch.map(({ entry }) => entry)
    const outcome = raw.step({ type: 'MsgProp', from: raw.id, to: raw.id, term: 0, entries }) as ProposeOutcome
    if (outcome.kind !== 'appended') {
      const failure = refusal(outcome)
      for (const { request } of batch) {
        request.isUnderWay = outcome.kind === 'forwarded'
        request.reject(failure)
      }
      return
    }
    const first = outcome.index - batch.length + 1
    for (const [at, { request }] of batch.entries()) {
      request.isUnderWay = true
      const waiting = this.#waiting.get(first + at)
      if (waiting === undefined) this.#waiting.set(first + at, [{ term: outcome.term, request }])
      else waiting.push({ term: outcome.term, request })
    }
  }
}

function dataBytes(entry: ProposedEntry): number {
  return entry.kind === 'normal' ? entry.data.length : entry.change.context.length
}

function refusal(outcome: Exclude<StepOutcome, { kind: 'appended' }>): RaftNodeError {
  if (outcome.kind === 'refused') {
    return new RaftNodeError(`The membership change must wait: ${outcome.reason}.`, { code: 'RAFT_DROPPED' })
  }
  if (outcome.kind === 'forwarded') {
    const message = `The proposal was passed on to node ${outcome.to}; its outcome is not known here.`
    return new RaftNodeError(message, { code: 'RAFT_OUTCOME_UNKNOWN', outcome: 'unknown', leader: outcome.to })
  }
  if (outcome.kind !== 'dropped') return new RaftNodeError('The proposal was ignored.', { code: 'RAFT_DROPPED' })
  const { reason, leader } = outcome
  if (reason === 'notLeader' || reason === 'noLeader') {
    const whom = leader === 0 ? 'no leader is known' : `node ${leader} leads`
    return new RaftNodeError(`This node does not lead; ${whom}.`, { code: 'RAFT_NOT_LEADER', leader })
  }
  const why = {
    transferring: 'leadership is being handed over',
    uncommittedFull: 'too much waits to be committed',
    notMember: 'this node is no member of the group any more',
  }[reason]
  return new RaftNodeError(`The proposal was dropped: ${why}.`, { code: 'RAFT_DROPPED', leader })
}

function overwritten({ index, term }: Entry): RaftNodeError {
  const message = `Leadership changed: an entry of term ${term} stands at ${index} in the proposal's place.`
  return new RaftNodeError(message, { code: 'RAFT_OVERWRITTEN' })
}

function outcomeUnknown(index: LogIndex): RaftNodeError {
  const message = `A snapshot covered entry ${index} before its result was known on this node.`
  return new RaftNodeError(message, { code: 'RAFT_OUTCOME_UNKNOWN', outcome: 'unknown' })
}
