import type { ClientDuplexStream } from '@grpc/grpc-js'
import type { RouterId } from '@waiter/base'
import type { BorrowerNews, SlotGrant } from '@waiter/slots'
import type { BorrowRequest, BorrowResponse, RouterServiceClient } from '../generated/waiter/v1/router.ts'
import { fromNeed, fromReturn, toGrant } from './peer-wire.ts'

/** Messages that may wait to be sent; a lender that takes less is as good as lost. */
const BACKLOG_MAX = 10_000

export interface LenderLineOptions {
  /** Of the lender; closed with the line. */
  readonly client: RouterServiceClient
  readonly borrowerId: RouterId
  readonly lenderId: RouterId
  /** What is still in use of what this lender lent before. */
  readonly heldGrantIds: readonly number[]
  readonly onGrant: (grant: SlotGrant) => void
  /** The stream broke; called once, and never after `close`. */
  readonly onLost: (error: Error | undefined) => void
}

/** One stream to a lender, from its first message to its end. */
export class LenderLine {
  readonly #client: RouterServiceClient
  readonly #stream: ClientDuplexStream<BorrowRequest, BorrowResponse>
  readonly #lost: (error?: Error) => void
  #isOver = false

  constructor(options: LenderLineOptions) {
    const { client, borrowerId, lenderId, heldGrantIds } = options
    this.#client = client
    this.#stream = this.#client.borrow()
    this.#lost = (error?: Error): void => {
      if (this.#isOver) return
      this.#end()
      options.onLost(error)
    }
    this.#stream.on('data', ({ grants }: BorrowResponse) => {
      for (const grant of grants) if (!this.#isOver) options.onGrant(toGrant(grant))
    })
    this.#stream.on('error', this.#lost)
    this.#stream.on('end', this.#lost)
    this.#stream.write({
      hello: { borrowerId, lenderId, heldGrantIds: [...heldGrantIds] },
      needs: [],
      returns: [],
      goodbye: false,
    })
  }

  send({ needs, returns }: BorrowerNews): void {
    if (this.#isOver) return
    if (this.#stream.writableLength > BACKLOG_MAX) {
      this.#lost(new Error('the lender does not take what it is sent'))
      return
    }
    this.#stream.write({
      hello: undefined,
      needs: needs.map(fromNeed),
      returns: returns.map(fromReturn),
      goodbye: false,
    })
  }

  /** Nothing is used and nothing is wanted: the lender may forget us. */
  sayGoodbye(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#stream.write({ hello: undefined, needs: [], returns: [], goodbye: true })
    this.#stream.end()
    // The channel closes when the stream has ended, and takes nothing with it.
    this.#client.close()
  }

  /** Ends the stream without a word: as if it had broken. */
  cut(): void {
    if (!this.#isOver) this.#end()
  }

  #end(): void {
    this.#isOver = true
    this.#stream.cancel()
    this.#client.close()
  }
}
