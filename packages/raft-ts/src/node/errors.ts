import { WaiterError } from '@waiter/base'
import type { LogIndex, NodeId } from '../index.ts'

/** What can go wrong around the core. */
export type RaftNodeErrorCode =
  /** The log's files do not hold what was durable once. The node must not vote again with them. */
  | 'RAFT_LOG_CORRUPT'
  /** Another process has the directory. */
  | 'RAFT_LOG_IN_USE'
  /** The disk refused a call. What it holds is unknown until the log is opened again. */
  | 'RAFT_LOG_FAILED'
  /** This node does not lead; nothing happened. */
  | 'RAFT_NOT_LEADER'
  /** Nothing happened: a limit is reached, leadership is being handed over, or a membership change must wait. */
  | 'RAFT_DROPPED'
  /** Another leader's entry stands in the proposal's place: it did not happen. */
  | 'RAFT_OVERWRITTEN'
  /** The deadline passed or the caller gave up. A proposal may still happen. */
  | 'RAFT_TIMEOUT'
  /** A snapshot covered the proposal's place before its result was known here. */
  | 'RAFT_OUTCOME_UNKNOWN'
  /** The node is stopping or has ended. */
  | 'RAFT_STOPPED'
  /** What was asked for cannot work; the message says what. */
  | 'RAFT_BAD_OPTIONS'
  /** The proposal is larger than any may be, or nothing the state machine knows. */
  | 'RAFT_BAD_PROPOSAL'
  /** The peer sent something that is not this protocol. */
  | 'RAFT_BAD_PEER'
  /** A snapshot could not be sent, received or restored. */
  | 'RAFT_SNAPSHOT_FAILED'

/** Whether a proposal that failed may have happened nevertheless. */
export type Outcome = 'notHappened' | 'unknown'

/** What a `RaftNodeError` says besides its message. */
export interface RaftNodeErrorOptions {
  readonly code: RaftNodeErrorCode
  readonly outcome?: Outcome
  /** Whom to ask instead; 0: nobody known. */
  readonly leader?: NodeId
  readonly cause?: unknown
  readonly details?: Readonly<Record<string, unknown>>
}

/** An operational failure of a node. `outcome` says whether trying again could do something twice. */
export class RaftNodeError extends WaiterError {
  override readonly name: string = 'RaftNodeError'
  readonly outcome: Outcome
  readonly leader: NodeId

  constructor(message: string, options: RaftNodeErrorOptions) {
    const { code, outcome = 'notHappened', leader = 0, cause, details = {} } = options
    const isRetryable = code === 'RAFT_NOT_LEADER' || code === 'RAFT_DROPPED' || code === 'RAFT_OVERWRITTEN'
    super(message, { code, status: 503, retryable: isRetryable, details, cause })
    this.outcome = outcome
    this.leader = leader
  }
}

/** Damage in what was durable. Says where, and what an operator can do. */
export function logCorrupt(where: { readonly file: string; readonly offset: number }, what: string): RaftNodeError {
  return new RaftNodeError(
    `${where.file} is damaged at byte ${where.offset}: ${what} This node has stopped, since it could break promises ` +
      'it gave. To mend it: keep the directory for inspection, remove this node from the group, and let it join ' +
      'again with an empty directory and a new id; the leader sends it everything.',
    { code: 'RAFT_LOG_CORRUPT', details: { ...where } },
  )
}

/** Two processes on one directory would vote twice. */
export function logInUse(directory: string, by: string | undefined): RaftNodeError {
  return new RaftNodeError(
    `The raft log in ${directory} is in use by ${by ?? 'another process'}. Two nodes on one directory would break each ` +
      "other's promises. Stop the other one, or give this one a directory and an id of its own. (A process that was " +
      'killed leaves no lock behind.)',
    { code: 'RAFT_LOG_IN_USE', details: { directory, by } },
  )
}

/** More callers wait than a node keeps in mind. */
export function tooManyRequests(count: number): RaftNodeError {
  const message = `This node has ${count} requests open and takes no more now; try again later.`
  return new RaftNodeError(message, { code: 'RAFT_DROPPED' })
}

/** A proposal that nobody may make. */
export function badProposal(what: string): RaftNodeError {
  return new RaftNodeError(`The proposal was refused: ${what}`, { code: 'RAFT_BAD_PROPOSAL' })
}

/** A call of the disk failed. */
export function logFailed(directory: string, cause: unknown): RaftNodeError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new RaftNodeError(
    `The raft log in ${directory} takes nothing more since the disk failed (${reason}). The node has stopped; nothing ` +
      'that was not durable has been acknowledged. Mend the disk (is it full?) and start the node again.',
    { code: 'RAFT_LOG_FAILED', outcome: 'unknown', cause },
  )
}

/** The log ends before what it says was committed. */
export function logTooShort(
  directory: string,
  { commit, lastIndex }: { readonly commit: LogIndex; readonly lastIndex: LogIndex },
): RaftNodeError {
  return new RaftNodeError(
    `The raft log in ${directory} ends at entry ${lastIndex}, but says itself that ${commit} was committed: entries ` +
      'that were durable are missing. This node has stopped, since it could break promises it gave. To mend it: remove ' +
      'this node from the group and let it join again with an empty directory and a new id.',
    { code: 'RAFT_LOG_CORRUPT', details: { directory, commit, lastIndex } },
  )
}
