import { type RouterId, WaiterError } from '@waiter/base'
import type { LeaderClock } from '../clock.ts'
import type { RouterSession } from './router-session.ts'

/** Questions under way at once: people ask them, so there are few. */
const OPEN_MAX = 1_000
/** Nobody waits longer for routers than this. */
const TIMEOUT_MS_MAX = 330_000

/** What routers said to one question, as they wrote it. */
export interface GatheredAnswers {
  readonly answers: readonly { readonly routerId: RouterId; readonly answerJson: string }[]
  readonly silentRouterIds: readonly RouterId[]
}

interface OpenQuestion {
  readonly waitingFor: Map<RouterId, RouterSession>
  readonly answers: { routerId: RouterId; answerJson: string }[]
  readonly silent: RouterId[]
  settle(): void
}

/** Puts questions to all routers and gathers what they answer. A router that leaves, or is late, counts as silent. */
export class RouterQuestions {
  readonly #clock: LeaderClock
  readonly #open = new Map<number, OpenQuestion>()
  #lastId = 0

  constructor(clock: LeaderClock) {
    this.#clock = clock
  }

  /** @throws WaiterError WTR_TOO_MANY_QUESTIONS (503) */
  ask(
    sessions: Iterable<RouterSession>,
    question: { readonly topic: string; readonly argumentJson: string },
    timeoutMs: number,
  ): Promise<GatheredAnswers> {
    if (this.#open.size >= OPEN_MAX)
      throw new WaiterError('too many questions to the routers are under way: try again', {
        code: 'WTR_TOO_MANY_QUESTIONS',
        status: 503,
        retryable: true,
      })
    this.#lastId += 1
    const questionId = this.#lastId
    return new Promise(resolve => {
      const cancel = this.#clock.schedule(Math.min(timeoutMs, TIMEOUT_MS_MAX), () => open.settle())
      const open: OpenQuestion = {
        waitingFor: new Map(),
        answers: [],
        silent: [],
        settle: () => {
          cancel()
          this.#open.delete(questionId)
          resolve({ answers: open.answers, silentRouterIds: [...open.silent, ...open.waitingFor.keys()] })
        },
      }
      this.#open.set(questionId, open)
      for (const session of sessions) {
        open.waitingFor.set(session.routerId, session)
        session.ask({ questionId, ...question })
      }
      if (open.waitingFor.size === 0) open.settle()
    })
  }

  answered(session: RouterSession, questionId: number, answerJson: string): void {
    const open = this.#open.get(questionId)
    if (open?.waitingFor.get(session.routerId) !== session) return
    open.answers.push({ routerId: session.routerId, answerJson })
    this.#done(open, session)
  }

  /** That router's stream is gone: it answers nothing any more. */
  left(session: RouterSession): void {
    for (const open of [...this.#open.values()]) {
      if (open.waitingFor.get(session.routerId) !== session) continue
      open.silent.push(session.routerId)
      this.#done(open, session)
    }
  }

  /** The leader goes. */
  stop(): void {
    for (const open of [...this.#open.values()]) open.settle()
  }

  #done(open: OpenQuestion, session: RouterSession): void {
    open.waitingFor.delete(session.routerId)
    if (open.waitingFor.size === 0) open.settle()
  }
}
