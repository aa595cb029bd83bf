import type { LogIndex, RawNode } from '../index.ts'
import { RaftNodeError } from './errors.ts'
import type { Request } from './requests.ts'

/** Reads that wait: those of one turn share one round of the protocol, which is asked for after all of them. */
export class SharedReads {
  readonly #idPrefix: string
  #counter = 0
  #queue: Request<LogIndex>[] = []
  /** Asked for, by the id of their round. */
  readonly #asked = new Map<string, Request<LogIndex>[]>()
  /** Confirmed, waiting for an index to be applied. */
  #confirmed: { readonly index: LogIndex; readonly requests: readonly Request<LogIndex>[] }[] = []
  rounds = 0

  /** @param idPrefix unique for ever: two lives of a node must not share it (rule R2) */
  constructor(idPrefix: string) {
    this.#idPrefix = idPrefix
  }

  add(request: Request<LogIndex>): void {
    this.#queue.push(request)
  }

  flush(raw: RawNode): void {
    const requests = this.#queue.filter(request => !request.isSettled)
    this.#queue = []
    if (requests.length === 0) return
    const readId = `${this.#idPrefix}.${++this.#counter}`
    this.rounds++
    if (raw.readIndex(readId) === 'dropped') rejectAll(requests)
    else this.#asked.set(readId, requests)
  }

  onConfirmed(readId: string, index: LogIndex): void {
    const requests = this.#asked.get(readId)
    this.#asked.delete(readId)
    if (requests !== undefined) this.#confirmed.push({ index, requests })
  }

  onDropped(readId: string): void {
    rejectAll(this.#asked.get(readId) ?? [])
    this.#asked.delete(readId)
  }

  /** Answers what the state machine is ready for. Returns how many. */
  serve(applied: LogIndex): number {
    if (this.#confirmed.length === 0) return 0
    let served = 0
    this.#confirmed = this.#confirmed.filter(({ index, requests }) => {
      if (index > applied) return true
      for (const request of requests) request.resolve(applied)
      served += requests.length
      return false
    })
    return served
  }

  /** Forgets rounds whose callers have all given up: an answer may never come. */
  sweep(): void {
    for (const [readId, requests] of this.#asked) {
      if (requests.every(request => request.isSettled)) this.#asked.delete(readId)
    }
  }
}

function rejectAll(requests: readonly Request<LogIndex>[]): void {
  const message = 'No leader could be confirmed for this read; try again.'
  for (const request of requests) request.reject(new RaftNodeError(message, { code: 'RAFT_NOT_LEADER' }))
}
