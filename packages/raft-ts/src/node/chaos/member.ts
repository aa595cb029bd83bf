import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import type { NodeId } from '../../index.ts'
import { type LedgerLine, type MemberRequest, parseLedger } from './ledger.ts'
import type { MemberOptions, MemberReport } from './member-main.ts'

/** A process that has not started by then never will, however busy the machine is. */
const START_MS_MAX = 120_000
const HOST = '127.0.0.1'
const ANSWER_BYTES_MAX = 16 * 1024 * 1024

/** One member: its process, which comes and goes, and what stays of it. */
export class Member {
  readonly id: NodeId
  /** Whom it believes to lead; 0: nobody, or it is down. */
  leader: NodeId = 0
  snapshotsReceived = 0
  readonly #options: Omit<MemberOptions, 'life'>
  readonly #onFailure: (why: string) => void
  readonly #onPort: (port: number | undefined) => void
  readonly #agent = new Agent({ keepAlive: true })
  #process: ChildProcess | undefined
  #clientPort = 0
  #life = 0
  #isPaused = false

  /** @param told of where it listens for the others, and of whatever it should not do */
  constructor(
    options: Omit<MemberOptions, 'life'>,
    told: { onPort(port: number | undefined): void; onFailure(why: string): void },
  ) {
    this.id = options.id
    this.#options = options
    this.#onFailure = told.onFailure
    this.#onPort = told.onPort
    mkdirSync(options.directory, { recursive: true })
  }

  /** How often it was started. */
  get lives(): number {
    return this.#life
  }

  get isUp(): boolean {
    return this.#process !== undefined
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  async start(): Promise<void> {
    if (this.#process !== undefined) return
    const options: MemberOptions = { ...this.#options, life: ++this.#life }
    const child = fork(new URL('member-main.ts', import.meta.url), [JSON.stringify(options)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#process = child
    const { promise: started, resolve } = Promise.withResolvers<void>()
    child.on('message', (report: MemberReport) => {
      if (report.kind === 'started') {
        this.#clientPort = report.clientPort
        this.#onPort(report.raftPort)
        resolve()
      }
      if (report.kind === 'leader') this.leader = report.leader
      else if (report.kind === 'snapshotReceived') this.snapshotsReceived++
      else if (report.kind === 'failed') this.#onFailure(`member ${this.id} ended by itself: ${report.why}`)
    })
    child.on('exit', (code, signal) => {
      resolve()
      if (this.#process !== child) return
      this.#process = undefined
      this.#onFailure(`member ${this.id} exited by itself (${signal ?? `code ${code}`})`)
    })
    const timer = setTimeout(() => {
      this.#onFailure(`member ${this.id} has not started in ${START_MS_MAX} ms`)
      resolve()
    }, START_MS_MAX)
    await started
    clearTimeout(timer)
  }

  /** SIGKILL: also for a process that is stopped. */
  async kill(): Promise<void> {
    const child = this.#process
    if (child === undefined) return
    this.#process = undefined
    this.#isPaused = false
    this.leader = 0
    this.#onPort(undefined)
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  /** SIGSTOP. */
  pause(): void {
    this.#isPaused = this.#process?.kill('SIGSTOP') ?? false
  }

  /** SIGCONT. */
  resume(): void {
    this.#process?.kill('SIGCONT')
    this.#isPaused = false
  }

  /** Asks the member; rejects when there is no answer in time. */
  ask(question: MemberRequest, timeoutMs: number): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const target = { host: HOST, port: this.#clientPort, method: 'POST', agent: this.#agent }
    const call = request(target, response => {
      const pieces: Buffer[] = []
      let bytes = 0
      response.on('data', (piece: Buffer) => {
        bytes += piece.length
        if (bytes > ANSWER_BYTES_MAX) call.destroy(new Error('the answer is too long'))
        else pieces.push(piece)
      })
      response.on('error', reject)
      response.on('end', () => {
        try {
          resolve(JSON.parse(Buffer.concat(pieces).toString()))
        } catch (error) {
          reject(error)
        }
      })
    })
    // The client's own patience; the member may still carry it out.
    const timer = setTimeout(() => call.destroy(new Error('no answer in time')), timeoutMs)
    call.on('close', () => clearTimeout(timer))
    call.on('error', reject)
    call.end(JSON.stringify(question))
    return promise
  }

  /** What each of its lives wrote down. */
  ledgers(): LedgerLine[][] {
    const { directory } = this.#options
    const names = readdirSync(directory).filter(name => name.endsWith('.ledger'))
    return names.map(name => parseLedger(readFileSync(join(directory, name), 'utf8')))
  }

  async end(): Promise<void> {
    await this.kill()
    this.#agent.destroy()
  }
}
