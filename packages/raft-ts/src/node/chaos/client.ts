import type { Prng } from '@waiter/base'
import type { KeyValueCommand, KeyValueResult, NodeId, WriteCommand } from '../../index.ts'
import { pause } from './faults.ts'
import type { Member } from './member.ts'

/** What a client did and was told. Times are of one clock, in milliseconds. */
export interface ClientOperation {
  /** Another one after every operation whose fate is unknown: to a checker that client does nothing any more. */
  readonly client: number
  readonly key: string
  readonly invokeMs: number
  /** undefined: nobody ever told. */
  readonly returnMs: number | undefined
  readonly action:
    | { readonly kind: 'read'; readonly version: number; readonly value: string | undefined; readonly index: number }
    | { readonly kind: 'write'; readonly command: WriteCommand; readonly version: number }
    /** `current` undefined: the answer came from a retry, and is not what was there at the time. */
    | { readonly kind: 'conflict'; readonly command: WriteCommand; readonly current: number | undefined }
    | { readonly kind: 'unknown'; readonly command: WriteCommand }
}

type Reply =
  | { readonly kind: 'value'; readonly version: number; readonly value?: string; readonly index: number }
  | { readonly kind: 'applied'; readonly index: number; readonly result: KeyValueResult }
  | { readonly kind: 'failed'; readonly leader: NodeId }

const ATTEMPT_MS = 500
const ATTEMPTS_MAX = 20
const RETRY_MS_MAX = 100
const THINK_MS_MAX = 40
/** Keys change so often that the history of each stays short enough for the checker. */
const WINDOW_MS = 1500
const KEYS_PER_WINDOW = 4
/** Mostly the ones that lead, sometimes anybody: followers serve reads and refuse writes. */
const HINTED_SHARE = 0.7
const READ_SHARE = 0.4
const CONDITIONAL_SHARE = 0.6
const DELETE_SHARE = 0.1

/** A client that does one thing at a time, retries within its session, and writes down what it was told. */
export class ChaosClient {
  readonly #members: readonly Member[]
  readonly #random: Prng
  readonly #history: ClientOperation[]
  readonly #name: number
  #incarnation = 0
  #session = 0
  #sequence = 0
  #serial = 0
  #leaderHint: NodeId = 0
  #versions = new Map<string, number>()

  constructor(
    options: { readonly name: number; readonly members: readonly Member[]; readonly random: Prng },
    history: ClientOperation[],
  ) {
    this.#name = options.name
    this.#members = options.members
    this.#random = options.random
    this.#history = history
  }

  /** Works until told to stop; the last operation is finished. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(this.#random.below(THINK_MS_MAX), signal)
      if (this.#session === 0 && !(await this.#openSession())) continue
      const window = Math.floor(performance.now() / WINDOW_MS)
      const key = `k${window}.${this.#random.below(KEYS_PER_WINDOW)}`
      if (this.#random.next() < READ_SHARE) await this.#read(key)
      else await this.#write(key)
    }
  }

  /** One write that must succeed once everything is healed. */
  async writeOnce(key: string): Promise<boolean> {
    if (this.#session === 0 && !(await this.#openSession())) return false
    return this.#write(key)
  }

  async #openSession(): Promise<boolean> {
    const reply = await this.#ask({ kind: 'openSession' })
    if (reply?.kind !== 'applied' || reply.result.kind !== 'opened') return false
    this.#session = reply.result.session
    this.#sequence = 0
    return true
  }

  async #read(key: string): Promise<void> {
    const invokeMs = performance.now()
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      const reply = await this.#askOnce({ kind: 'read', key })
      if (reply?.kind !== 'value') {
        await this.#wait()
        continue
      }
      const { version, value, index } = reply
      this.#remember(key, version)
      this.#record(key, invokeMs, { kind: 'read', version, value, index })
      return
    }
  }

  async #write(key: string): Promise<boolean> {
    const command = this.#drawWrite(key)
    const invokeMs = performance.now()
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      const reply = await this.#askOnce({ kind: 'command', command })
      if (reply?.kind === 'applied' && reply.result.kind === 'written') {
        this.#remember(key, command.value === undefined ? 0 : reply.result.version)
        this.#record(key, invokeMs, { kind: 'write', command, version: reply.result.version })
        return true
      }
      if (reply?.kind === 'applied' && reply.result.kind === 'conflict') {
        const current = reply.result.current?.version ?? 0
        this.#remember(key, current)
        this.#record(key, invokeMs, { kind: 'conflict', command, current: attempt === 1 ? current : undefined })
        return false
      }
      // A session that was forgotten does not tell what became of the first attempt.
      if (reply?.kind === 'applied') break
      await this.#wait()
    }
    this.#history.push({
      client: this.#identity,
      key,
      invokeMs,
      returnMs: undefined,
      action: { kind: 'unknown', command },
    })
    this.#incarnation++
    this.#session = 0
    return false
  }

  #drawWrite(key: string): WriteCommand {
    const expected = this.#random.next() < CONDITIONAL_SHARE ? (this.#versions.get(key) ?? 0) : undefined
    const value = this.#random.next() < DELETE_SHARE ? undefined : `${this.#identity}/${++this.#serial}`
    const sequence = ++this.#sequence
    return { kind: 'write', session: this.#session, sequence, firstPending: sequence, key, expected, value }
  }

  get #identity(): number {
    return this.#name + this.#incarnation * 1000
  }

  #remember(key: string, version: number): void {
    // Keys of windows that are over do not come again.
    if (this.#versions.size > KEYS_PER_WINDOW * 2) this.#versions = new Map()
    this.#versions.set(key, version)
  }

  #record(key: string, invokeMs: number, action: ClientOperation['action']): void {
    this.#history.push({ client: this.#identity, key, invokeMs, returnMs: performance.now(), action })
  }

  async #ask(command: KeyValueCommand): Promise<Reply | undefined> {
    const reply = await this.#askOnce({ kind: 'command', command })
    if (reply?.kind !== 'applied') await this.#wait()
    return reply
  }

  async #askOnce(question: Parameters<Member['ask']>[0]): Promise<Reply | undefined> {
    const isHinted = this.#random.next() < HINTED_SHARE
    const chosen = this.#members[this.#random.below(this.#members.length)]!
    const member = isHinted ? (this.#members.find(({ id }) => id === this.#leaderHint) ?? chosen) : chosen
    try {
      const reply = (await member.ask(question, ATTEMPT_MS)) as Reply
      if (reply.kind === 'failed') this.#leaderHint = reply.leader
      else if (question.kind === 'command') this.#leaderHint = member.id
      return reply
    } catch {
      // Down, stopped, or too slow.
      this.#leaderHint = 0
      return undefined
    }
  }

  #wait(): Promise<void> {
    return new Promise(resolve => setTimeout(resolve, this.#random.below(RETRY_MS_MAX)))
  }
}
