import { type ChildProcess, fork } from 'node:child_process'
import { type Logger, WaiterError } from '@waiter/base'
import type { ChildAddresses, ChildNews, FromChild, NewsForChild, StartMessage, ToChild } from './messages.ts'

/** Restarts of a child that keeps dying: at once, then doubling up to this. */
const RESTART_DELAY_MS_MAX = 5_000
const RESTART_DELAY_MS_FIRST = 100
/** A child that ran this long had started well: the next death restarts it at once again. */
const HEALTHY_AFTER_MS = 10_000
/** Beyond its own grace a child gets this much to say good-bye before SIGKILL. */
const STOP_SLACK_MS = 2_000

/** What a child is started with, and who hears of it. */
export interface SupervisedChildOptions {
  /** For Node and V8, beside those of this process. */
  readonly engineFlags?: readonly string[]
  /** It serves, for the first time or again, perhaps elsewhere. */
  readonly onReady?: (addresses: ChildAddresses) => void
  readonly onNews?: (news: ChildNews) => void
  /** It has died, and is started again. */
  readonly onDeath?: () => void
}

/** Keeps one child process alive until told to stop. */
export class SupervisedChild {
  readonly #entry: string
  readonly #log: Logger
  readonly #options: SupervisedChildOptions
  readonly #startMessage: (address: string | undefined) => StartMessage
  #process: ChildProcess | undefined
  #address: string | undefined
  #addresses: ChildAddresses | undefined
  #isStopping = false
  #restartTimer: NodeJS.Timeout | undefined
  #deaths = 0
  #startedAtMs = 0

  /**
   * @param entry file that the child runs
   * @param startMessage made anew for each start; given the address of the earlier life, so that it can be kept
   */
  constructor(
    entry: string,
    startMessage: (address: string | undefined) => StartMessage,
    log: Logger,
    options: SupervisedChildOptions = {},
  ) {
    this.#entry = entry
    this.#startMessage = startMessage
    this.#log = log
    this.#options = options
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** Where it serves, or did when it died; undefined before that. */
  get addresses(): ChildAddresses | undefined {
    return this.#addresses
  }

  /** URL of HTTPS, of a child that serves it. */
  get secureAddress(): string | undefined {
    return this.#addresses?.secureAddress
  }

  /** Tells the child something, if it runs. */
  send(message: NewsForChild): void {
    if (this.#process?.connected) this.#process.send(message satisfies ToChild)
  }

  /**
   * Starts the child and waits until it serves.
   *
   * @returns its address
   * @throws WaiterError what the child could not do, with the mend
   */
  async start(): Promise<string> {
    this.#address = await this.#launch()
    this.#superviseCurrent()
    return this.#address
  }

  /**
   * Asks the child to stop within `graceMs`; kills it if it does not. Resolves when it is gone.
   *
   * @param stopsInstances see `StopMessage`
   */
  async stop(graceMs: number, stopsInstances = false): Promise<void> {
    this.#isStopping = true
    clearTimeout(this.#restartTimer)
    const child = this.#process
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise<void>(resolve => child.once('exit', () => resolve()))
    const deadline = setTimeout(() => child.kill('SIGKILL'), graceMs + STOP_SLACK_MS)
    if (child.connected) child.send({ kind: 'stop', graceMs, stopsInstances } satisfies ToChild)
    else child.kill('SIGKILL')
    await gone
    clearTimeout(deadline)
  }

  #launch(): Promise<string> {
    this.#startedAtMs = performance.now()
    const execArgv = [...process.execArgv, ...(this.#options.engineFlags ?? [])]
    const child = fork(this.#entry, [], { execArgv, stdio: ['ignore', 2, 2, 'ipc'] })
    this.#process = child
    child.send(this.#startMessage(this.#address) satisfies ToChild)
    return new Promise((resolve, reject) => {
      child.on('message', (message: FromChild) => {
        switch (message.kind) {
          case 'ready':
            this.#addresses = message
            resolve(message.address)
            this.#options.onReady?.(message)
            break
          case 'failed':
            reject(new WaiterError(message.message, { code: message.code }))
            break
          default:
            this.#options.onNews?.(message)
        }
      })
      // For as long as the child lives: an error event that nobody hears would end this process.
      child.on('error', error => reject(error))
      child.once('exit', (code, signal) =>
        reject(
          new WaiterError(`a process of the node ended while starting (${signal ?? code})`, { code: 'WTR_CHILD_DIED' }),
        ),
      )
    })
  }

  #superviseCurrent(): void {
    this.#process?.once('exit', (code, signal) => {
      if (!this.#isStopping) this.#restart(`${signal ?? `exit code ${code}`}`)
    })
    const child = this.#process
    if (child && !this.#isStopping && (child.exitCode !== null || child.signalCode !== null))
      this.#restart('early death')
  }

  #restart(cause: string): void {
    if (performance.now() - this.#startedAtMs > HEALTHY_AFTER_MS) this.#deaths = 0
    const delayMs = this.#deaths === 0 ? 0 : Math.min(RESTART_DELAY_MS_MAX, RESTART_DELAY_MS_FIRST * 2 ** this.#deaths)
    this.#deaths += 1
    this.#options.onDeath?.()
    this.#log.warn({ entry: this.#entry, cause, delayMs }, 'a process of this node died and is started again')
    this.#restartTimer = setTimeout(() => {
      if (this.#isStopping) return
      this.#launch().then(
        address => {
          this.#address = address
          this.#superviseCurrent()
        },
        error => {
          this.#log.error({ err: error }, 'the restart failed')
          this.#process?.kill('SIGKILL')
          if (!this.#isStopping) this.#restart('failed start')
        },
      )
    }, delayMs)
  }
}
