import { availableParallelism, totalmem } from 'node:os'
import { type Logger, WaiterError } from '@waiter/base'
import { type HostSeat, type KeptHost, notHostKeeper } from '@waiter/control'
import type { Fence, HostCapacity, ProcessScheduler } from '@waiter/schedulers'

const BYTES_PER_MIB = 1024 * 1024

/** What this machine can carry. */
export function readCapacity(): HostCapacity {
  return { cpus: availableParallelism(), memMb: totalmem() / BYTES_PER_MIB }
}

export interface HostKeeperOptions {
  readonly hostId: string
  readonly open: (fence?: Fence) => Promise<ProcessScheduler>
  /** Whether the host is about to stop. */
  readonly drains: () => boolean
  readonly log: Logger
}

/**
 * Keeps this host's scheduler for a leader on another host. Of the control processes of a host the one that the leader
 * watches does; it goes on when nobody leads. The directory settles any dispute (`Tenancy`): a later term wins, and of
 * equals whoever came last; the other one goes quiet.
 */
export class HostKeeper implements HostSeat {
  readonly #options: HostKeeperOptions
  #kept: ProcessScheduler | undefined
  /** One after the other. */
  #turn: Promise<unknown> = Promise.resolve()
  #isClosed = false

  constructor(options: HostKeeperOptions) {
    this.#options = options
  }

  take(fence: Fence): Promise<KeptHost> {
    return this.#inTurn(async () => {
      if (this.#isClosed) throw notHostKeeper(this.#options.hostId)
      if (!this.#admits(fence)) {
        await this.#kept?.stop()
        this.#kept = undefined
        this.#kept = await this.#options.open(fence)
        this.#options.log.info({ term: fence.term }, "this process keeps the host's scheduler for a leader elsewhere")
      }
      return this.current()
    })
  }

  current(): KeptHost {
    if (this.#kept === undefined || this.#isClosed) throw notHostKeeper(this.#options.hostId)
    return { capacity: readCapacity(), scheduler: this.#kept, drains: this.#options.drains }
  }

  /** This process leads, or ends: it keeps nothing any more. What runs goes on. */
  release(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#kept?.stop()
      this.#kept = undefined
    })
  }

  /** Nothing is taken or ordered any more. */
  close(): void {
    this.#isClosed = true
  }

  /** The host ends, and what it runs with it; whoever watches hears that. */
  async stopAll(graceMs: number): Promise<void> {
    this.close()
    await this.#inTurn(async () => {
      this.#kept ??= await this.#options.open()
      await this.#kept.stopAll(graceMs)
    })
  }

  /** Whether what is kept is still ours. @throws WaiterError WTR_FENCED */
  #admits(fence: Fence): boolean {
    if (this.#kept === undefined) return false
    try {
      this.#kept.admit(fence)
      return true
    } catch (error) {
      // Another process has taken the directory over meanwhile.
      if (error instanceof WaiterError && error.code === 'WTR_SCHEDULER_STOPPED') return false
      throw error
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work)
    this.#turn = mine.catch(() => undefined)
    return mine
  }
}
