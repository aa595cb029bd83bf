import { type ChildProcess, fork } from 'node:child_process'
import { on, once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { GossipNodeOptions, GossipNodeStatus } from '../../../src/node/index.ts'
import type { Member } from '../../../src/index.ts'

const main = fileURLToPath(new URL('./member-main.ts', import.meta.url))

/** What a member says when it is asked. */
export interface Answer {
  readonly members: readonly Member[]
  readonly rows: Readonly<Record<string, Readonly<Record<string, string>>>>
  readonly status: GossipNodeStatus
}

interface MemberNews {
  readonly kind: string
  readonly id?: string
  readonly state?: string
}

/** Faster than in production; slow enough for a busy machine. */
export const SETTINGS = { probeIntervalMs: 250, probeTimeoutMs: 100, healIntervalMs: 1_000, pushPullIntervalMs: 2_000 }
const WAIT_MS_MAX = 30_000
export const SECRET = 'a secret of the tests, long enough'

/** A member in a process of its own. */
export class MemberProcess implements AsyncDisposable {
  readonly child: ChildProcess
  readonly news: MemberNews[] = []
  readonly id: string
  address = ''

  private constructor(id: string) {
    this.id = id
    this.child = fork(main, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.child.on('message', (news: MemberNews) => this.news.push(news))
  }

  static async start(id: string, seeds: string[] = [], more: Partial<GossipNodeOptions> = {}): Promise<MemberProcess> {
    const member = new MemberProcess(id)
    const bind = { host: '127.0.0.1', port: 0 }
    const options = { id, bind, secrets: [SECRET], cluster: 'test', seeds, settings: SETTINGS, ...more }
    member.child.send({ kind: 'start', options })
    member.address = ((await member.#next(news => news.kind === 'started')) as unknown as { address: string }).address
    return member
  }

  set(key: string, value: string): void {
    this.child.send({ kind: 'set', key, value })
  }

  async ask(): Promise<Answer> {
    const answer = this.#next(news => news.kind === 'answer')
    this.child.send({ kind: 'ask' })
    return (await answer) as unknown as Answer
  }

  /** Until it has seen a member in this state, now or earlier than now but after `since` news. */
  async sees(id: string, state: string, since = 0): Promise<void> {
    const isIt = (news: MemberNews): boolean => news.kind === 'member' && news.id === id && news.state === state
    if (!this.news.slice(since).some(isIt)) await this.#next(isIt)
  }

  /** Until what it answers is right. */
  async knows(isRight: (answer: Answer) => boolean): Promise<Answer> {
    const deadlineMs = performance.now() + WAIT_MS_MAX
    for (;;) {
      const answer = await this.ask()
      if (isRight(answer)) return answer
      if (performance.now() > deadlineMs) {
        throw new Error(`${this.id} never knew what makes ${isRight} true; it says ${JSON.stringify(answer)}`)
      }
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }

  async leave(): Promise<void> {
    const exited = once(this.child, 'exit')
    this.child.send({ kind: 'leave' })
    await exited
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const exited = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await exited
  }

  async #next(isIt: (news: MemberNews) => boolean): Promise<MemberNews> {
    const signal = AbortSignal.timeout(WAIT_MS_MAX)
    try {
      for await (const [news] of on(this.child, 'message', { signal, close: ['exit'] })) if (isIt(news)) return news
    } catch (error) {
      throw new Error(`${this.id} never told what makes ${isIt} true`, { cause: error })
    }
    throw new Error(`${this.id} has ended`)
  }
}
