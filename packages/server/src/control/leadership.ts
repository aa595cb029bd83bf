import type { Logger, Term } from '@waiter/base'

/** A failed start of what a leader runs is tried again after this, while this node still leads. */
const RETRY_MS = 500

/** What a leader runs. */
export interface Reign {
  /** At once: from here on it decides nothing more. Nothing that runs is touched. */
  halt(): void
  /** Resolves when nothing of it acts any more. */
  ended(): Promise<void>
}

export interface LeadershipOptions<R extends Reign> {
  /** Starts what a leader runs; resolves when it can serve. */
  readonly begin: (term: Term, signal: AbortSignal) => Promise<R>
  /** Called with the reign that serves now; undefined: this node does not lead, or not yet. */
  readonly onChange: (reign: R | undefined) => void
  /** The system's timer unless given. */
  readonly pause?: (ms: number) => Promise<void>
  readonly log: Logger
}

/**
 * Runs the leader while this node leads, one at a time: the next one begins when nothing of the former acts any more. Losing
 * the leadership halts it within the same turn.
 */
export class Leadership<R extends Reign> {
  readonly #options: LeadershipOptions<R>
  #wanted: { readonly term: Term; readonly end: AbortController } | undefined
  #current: R | undefined
  #running: Promise<void> | undefined
  #isFrozen = false

  constructor(options: LeadershipOptions<R>) {
    this.#options = options
  }

  get current(): R | undefined {
    return this.#current
  }

  /** This node leads in this term; undefined: it does not. */
  set(term: Term | undefined): void {
    if (this.#isFrozen || term === this.#wanted?.term) return
    this.#wanted?.end.abort()
    this.#wanted = term === undefined ? undefined : { term, end: new AbortController() }
    if (this.#current !== undefined) {
      this.#current.halt()
      this.#options.onChange(undefined)
    }
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** Nothing changes any more, whatever becomes of the leadership. @returns what runs, if anything does */
  async freeze(): Promise<R | undefined> {
    this.#isFrozen = true
    if (this.#current === undefined) this.#wanted?.end.abort()
    await this.#running
    return this.#current
  }

  async #run(): Promise<void> {
    const { begin, onChange, log, pause = pauseFor } = this.#options
    for (;;) {
      const wanted = this.#wanted
      if (this.#current !== undefined) {
        await this.#current.ended()
        this.#current = undefined
      }
      if (wanted === undefined || wanted.end.signal.aborted) {
        if (wanted === this.#wanted) return
        continue
      }
      try {
        const reign = await begin(wanted.term, wanted.end.signal)
        this.#current = reign
        if (wanted === this.#wanted && !wanted.end.signal.aborted) {
          onChange(reign)
          return
        }
        reign.halt()
      } catch (error) {
        if (wanted.end.signal.aborted) continue
        log.error({ err: error, term: wanted.term }, 'could not take up the leadership; trying again')
        await pause(RETRY_MS)
      }
    }
  }
}

function pauseFor(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
