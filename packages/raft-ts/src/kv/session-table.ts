import type { LogIndex } from '../types.ts'
import type { ByteReader, ByteWriter } from './bytes.ts'
import type { SessionId } from './command.ts'

/** What is remembered of a write: enough to answer its retry. */
export type RememberedResult =
  | { readonly kind: 'written'; readonly version: number }
  /** The value in the way is read again at the retry. */
  | { readonly kind: 'conflict' }

interface Session {
  lastUsed: LogIndex
  firstPending: number
  readonly results: Map<number, RememberedResult>
}

/** What a session says to a command: go on, or the answer it had before, or that it is no longer known. */
export type Admission =
  | { readonly kind: 'apply' }
  | RememberedResult
  | { readonly kind: 'refused'; readonly reason: SessionFault }

/** Why a session refuses a command; nothing was changed. */
export type SessionFault =
  /** Never opened, closed, or evicted because too many others were used since. */
  | 'unknownSession'
  /** The client had promised not to retry it. */
  | 'alreadyForgotten'
  /** Too many results that the client has not let go. */
  | 'tooManyPending'

/**
 * Remembers the results of recent writes per client, so that a retry is answered instead of applied again (rules K3–K5).
 * Part of the replicated state: bounded by counts that must be equal on all nodes, evicting the least recently used.
 */
export class SessionTable {
  readonly #maxSessions: number
  readonly #maxResultsPerSession: number
  /** In order of last use: a Map keeps insertion order, and every use inserts anew. */
  readonly #sessions = new Map<SessionId, Session>()

  constructor(limits: { readonly maxSessions: number; readonly maxResultsPerSession: number }) {
    this.#maxSessions = limits.maxSessions
    this.#maxResultsPerSession = limits.maxResultsPerSession
  }

  get size(): number {
    return this.#sessions.size
  }

  open(index: LogIndex): SessionId {
    if (this.#sessions.size >= this.#maxSessions) {
      const [oldest] = this.#sessions.keys()
      if (oldest !== undefined) this.#sessions.delete(oldest)
    }
    this.#sessions.set(index, { lastUsed: index, firstPending: 0, results: new Map() })
    return index
  }

  close(id: SessionId): void {
    this.#sessions.delete(id)
  }

  /** Asks whether a command is new. */
  admit(
    id: SessionId,
    sequence: number,
    options: { readonly firstPending: number; readonly index: LogIndex },
  ): Admission {
    const session = this.#sessions.get(id)
    if (session === undefined) return { kind: 'refused', reason: 'unknownSession' }
    this.#sessions.delete(id)
    this.#sessions.set(id, session)
    session.lastUsed = options.index
    if (options.firstPending > session.firstPending) {
      session.firstPending = options.firstPending
      for (const known of session.results.keys()) if (known < options.firstPending) session.results.delete(known)
    }
    const remembered = session.results.get(sequence)
    if (remembered !== undefined) return remembered
    if (sequence < session.firstPending) return { kind: 'refused', reason: 'alreadyForgotten' }
    if (session.results.size >= this.#maxResultsPerSession) return { kind: 'refused', reason: 'tooManyPending' }
    return { kind: 'apply' }
  }

  remember(id: SessionId, sequence: number, result: RememberedResult): void {
    this.#sessions.get(id)?.results.set(sequence, result)
  }

  encode(writer: ByteWriter): void {
    writer.varint(this.#sessions.size)
    for (const [id, { lastUsed, firstPending, results }] of this.#sessions) {
      writer.varint(id).varint(lastUsed).varint(firstPending).varint(results.size)
      // 0 is a conflict: versions start at 1.
      for (const [sequence, result] of results)
        writer.varint(sequence).varint(result.kind === 'written' ? result.version : 0)
    }
  }

  decode(reader: ByteReader): void {
    this.#sessions.clear()
    for (let left = reader.varint(); left > 0; left--) {
      const id = reader.varint()
      const session: Session = { lastUsed: reader.varint(), firstPending: reader.varint(), results: new Map() }
      for (let results = reader.varint(); results > 0; results--) {
        const sequence = reader.varint()
        const version = reader.varint()
        session.results.set(sequence, version === 0 ? { kind: 'conflict' } : { kind: 'written', version })
      }
      this.#sessions.set(id, session)
    }
  }
}
