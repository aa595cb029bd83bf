import type { Logger } from '@waiter/base'
import { assertNever } from '@waiter/base'
import type { MemberChange } from './gossip-member.ts'

const WINDOW_MS = 60_000
/** In one window; what is beyond is counted and told with the first line of a later one. */
const LINES_MAX = 30

/** Log lines about who comes and goes, few of them when many do. */
export class MemberLog {
  readonly #log: Logger
  readonly #nowMs: () => number
  #windowEndsMs = Number.NEGATIVE_INFINITY
  #lines = 0
  #untold = 0

  constructor(log: Logger, nowMs: () => number) {
    this.#log = log
    this.#nowMs = nowMs
  }

  tell(change: MemberChange): void {
    const { id, state, previous } = change
    const line = lineOf(change)
    if (line === undefined) return
    const nowMs = this.#nowMs()
    if (nowMs >= this.#windowEndsMs) {
      this.#windowEndsMs = nowMs + WINDOW_MS
      this.#lines = 0
    }
    if (++this.#lines > LINES_MAX) {
      this.#untold++
      return
    }
    const more = this.#untold === 0 ? {} : { untold: this.#untold }
    this.#untold = 0
    this.#log[line.level]({ member: id, state, previous, ...more }, line.text)
  }
}

function lineOf({ state, previous }: MemberChange): { level: 'info' | 'warn'; text: string } | undefined {
  switch (state) {
    case 'alive':
      if (previous === undefined) return { level: 'info', text: 'gossip: a router is there' }
      return { level: 'info', text: previous === 'suspect' ? 'gossip: a router answers' : 'gossip: a router is back' }
    case 'suspect':
      return { level: 'info', text: 'gossip: a router does not answer' }
    case 'dead':
      return { level: 'warn', text: 'gossip: a router is dead' }
    case 'left':
      return { level: 'info', text: 'gossip: a router has left' }
    case 'reaped':
      return undefined
    default:
      return assertNever(state)
  }
}
