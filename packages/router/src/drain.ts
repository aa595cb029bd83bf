import type { Logger } from '@waiter/base'

export interface DrainOptions {
  readonly log: Logger
  /** Finishes what runs and ends the process; its node starts a fresh one. */
  readonly endProcess?: () => void
}

/**
 * Whether this router asks load balancers to send no more: `/status` says 503, and it gets no slots of its own any more;
 * what comes all the same is served with slots of others (spec §4.1).
 */
export class Drain {
  readonly #options: DrainOptions
  readonly #tellLeader: () => void
  #timer: NodeJS.Timeout | undefined
  #since: string | undefined
  #isCrash = false

  /** @param tellLeader that it is to leave this router out */
  constructor(options: DrainOptions, tellLeader: () => void) {
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
    this.#tellLeader()
    this.#options.log.warn({ timeoutMs, isCrash }, 'draining: load balancers should send requests elsewhere')
    if (!isCrash) return
    this.#timer = setTimeout(() => this.#options.endProcess?.(), timeoutMs)
    this.#timer.unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }
}
