import type { Logger } from '@waiter/base'

export interface DrainOptions {
  readonly log: Logger
  /** Finishes what runs and ends the process; its node starts a fresh one. */
  readonly endProcess?: () => void
  /** It began, or is over. */
  readonly onDrain?: (drains: boolean) => void
}

/**
 * Whether this router asks load balancers to send no more: `/status` says 503, and it gets no slots of its own any more;
 * what comes all the same is served with slots of others (spec §4.1).
 */
export class Drain {
  readonly #options: DrainOptions
  readonly #tellLeader: (isOver: boolean) => void
  #timer: NodeJS.Timeout | undefined
  #since: string | undefined
  #isCrash = false

  /** @param tellLeader that it is to leave this router out, or not any more */
  constructor(options: DrainOptions, tellLeader: (isOver: boolean) => void) {
    this.#options = options
    this.#tellLeader = tellLeader
  }

  /** When it began; undefined: it has not. */
  get since(): string | undefined {
    return this.#since
  }

  get willEnd(): boolean {
    return this.#isCrash
  }

  /** Begins, or goes on with another end: after `timeoutMs` the process ends if `isCrash`. */
  begin({ timeoutMs, isCrash }: { readonly timeoutMs: number; readonly isCrash: boolean }): void {
    this.#since ??= new Date().toISOString()
    this.#isCrash = isCrash
    clearTimeout(this.#timer)
    this.#tellLeader(false)
    // One that ends is replaced at once: its node stays.
    this.#options.onDrain?.(!isCrash)
    this.#options.log.warn({ timeoutMs, isCrash }, 'draining: load balancers should send requests elsewhere')
    if (!isCrash) return
    this.#timer = setTimeout(() => this.#options.endProcess?.(), timeoutMs)
    this.#timer.unref()
  }

  /** Its node is about to stop, or goes on after all. */
  set(drains: boolean): void {
    if (drains) this.begin({ timeoutMs: 0, isCrash: false })
    else this.end()
  }

  /** It serves as before. */
  end(): void {
    if (this.#since === undefined) return
    this.#since = undefined
    this.#isCrash = false
    clearTimeout(this.#timer)
    this.#tellLeader(true)
    this.#options.onDrain?.(false)
    this.#options.log.warn({}, 'not draining any more')
  }

  stop(): void {
    clearTimeout(this.#timer)
  }
}
