import {
  bucketOf,
  bucketOfCount,
  isForNewest,
  readSplitCookie,
  splitCookieName,
  type TrafficSplit,
} from '@waiter/services'
import type { Selected } from '../request/descriptor-cache.ts'

/** A user stays on his version for a month without visits. */
const COOKIE_SECS = 30 * 86_400

/** What a splitter looks at in a request. */
export interface HeaderReader {
  get(lowerName: string): string | undefined
}

/** Shares the requests of one selection out between the newest version and the one before it. */
export class TrafficSplitter {
  readonly #token: string
  readonly #split: TrafficSplit
  readonly #newest: Selected
  readonly #former: Selected
  readonly #nextCount: () => number

  constructor(options: {
    readonly token: string
    readonly split: TrafficSplit
    readonly newest: Selected
    readonly former: Selected
    /** Counts requests that nobody is recognised by. */
    readonly nextCount: () => number
  }) {
    this.#token = options.token
    this.#split = options.split
    this.#newest = options.newest
    this.#former = options.former
    this.#nextCount = options.nextCount
  }

  pick(head: HeaderReader): Selected {
    const { sticky } = this.#split
    if (sticky === undefined) return this.#chosen(bucketOfCount(this.#nextCount()))
    if (sticky !== 'cookie') {
      const value = head.get(sticky.slice('header:'.length))
      return this.#chosen(value === undefined ? bucketOfCount(this.#nextCount()) : bucketOf(this.#token, value))
    }
    const name = splitCookieName(this.#token)
    const known = readSplitCookie(head.get('cookie'), name)
    if (known !== undefined) return this.#chosen(known)
    const bucket = bucketOfCount(this.#nextCount())
    const cookie = `${name}=${bucket}; Path=/; Max-Age=${COOKIE_SECS}; HttpOnly; SameSite=Lax`
    return { ...this.#chosen(bucket), answerHeaders: [['set-cookie', cookie]] }
  }

  #chosen(bucket: number): Selected {
    return isForNewest(bucket, this.#split) ? this.#newest : this.#former
  }
}
