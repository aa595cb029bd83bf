import { connect, type Socket } from 'node:net'
import type { Prng } from '../../packages/base/src/index.ts'
import { Fate, type Ledger } from './ledger.ts'

/** One way to ask. */
interface Kind {
  readonly weight: number
  readonly mayRepeat: boolean
  request(number: number): string
}

const head = (method: string, path: string, number: number, more = ''): string =>
  `${method} ${path} HTTP/1.1\r\nhost: soak.example\r\nx-soak: ${number}\r\n${more}\r\n`
const BODY = 'e'.repeat(1024)
const CHUNKED = `400\r\n${BODY}\r\n7;x=y\r\n1234567\r\n0\r\n\r\n`

/** Takes the backend 100 ms. */
const PIECES: Kind = { weight: 5, mayRepeat: true, request: number => head('GET', '/pieces', number) }
const LATE_MS_MAX = 60
const KINDS: readonly Kind[] = [
  { weight: 60, mayRepeat: true, request: number => head('GET', '/', number) },
  {
    weight: 20,
    mayRepeat: false,
    request: number => head('POST', '/echo', number, `content-length: ${BODY.length}\r\n`) + BODY,
  },
  {
    weight: 5,
    mayRepeat: false,
    request: number => head('POST', '/echo', number, 'transfer-encoding: chunked\r\n') + CHUNKED,
  },
  { weight: 10, mayRepeat: true, request: number => head('GET', '/middle', number) },
  PIECES,
]
const SLOW: Kind = { weight: 0, mayRepeat: true, request: number => head('GET', '/big', number) }
const WEIGHT_SUM = KINDS.reduce((sum, { weight }) => sum + weight, 0)

/** On a machine that is too slow, more would only make it slower: the rate falls instead, and the run says so. */
const CONNECTIONS_MAX = 2_000

/** How a client behaves. */
export interface Habits {
  /** Share of requests that are aborted. */
  readonly abortShare: number
  /** A connection serves up to so many requests, then the client closes it. */
  readonly requestsPerConnectionMax: number
  /** Of a slow reader: bytes it takes at a time, and the pause between. */
  readonly slowPauseMs: number
}

/** Clients of all sorts over kept connections; tells the ledger what became of each request. */
export class Clients {
  readonly #port: number
  readonly #ledger: Ledger
  readonly #prng: Prng
  readonly #habits: Habits
  readonly #resting: Connection[] = []
  readonly #open = new Set<Connection>()
  /** Latencies in ms of answered requests since the last look. */
  latencies: number[] = []

  constructor(port: number, ledger: Ledger, prng: Prng, habits: Habits) {
    this.#port = port
    this.#ledger = ledger
    this.#prng = prng
    this.#habits = habits
  }

  get openConnections(): number {
    return this.#open.size
  }

  /** Sends one request on a connection that rests, or on a new one; false when too many are open to do so. */
  send(): boolean {
    if (this.#resting.length === 0 && this.#open.size >= CONNECTIONS_MAX) return false
    const leaves = this.#prng.next() < this.#habits.abortShare
    // Who leaves does so right behind the request, or in the middle of an answer that takes longer than that.
    const isLate = leaves && this.#prng.below(3) === 0
    const leavesAfterMs = leaves ? (isLate ? this.#prng.below(LATE_MS_MAX) : 0) : null
    this.#use(isLate ? PIECES : this.#pickKind(), leavesAfterMs, false)
    return true
  }

  /** Begins a long answer that is read slowly. */
  sendSlow(): void {
    this.#use(SLOW, null, true)
  }

  /** Closes what rests; resolves when all has ended. */
  async finish(deadlineMs: number): Promise<void> {
    const until = performance.now() + deadlineMs
    while (this.#open.size > 0 && performance.now() < until) {
      for (const connection of this.#resting.splice(0)) connection.close()
      await new Promise(resolve => setTimeout(resolve, 50))
    }
    for (const connection of this.#open) connection.abort()
  }

  #pickKind(): Kind {
    let at = this.#prng.below(WEIGHT_SUM)
    for (const kind of KINDS) {
      at -= kind.weight
      if (at < 0) return kind
    }
    return KINDS[0] as Kind
  }

  #use(kind: Kind, leavesAfterMs: number | null, isSlow: boolean): void {
    let connection = this.#resting.pop()
    while (connection?.isOver) connection = this.#resting.pop()
    if (connection === undefined) {
      connection = new Connection(this.#port, {
        slowPauseMs: this.#habits.slowPauseMs,
        onAnswer: (number, fate, ms) => this.#onAnswer(number, fate, ms),
        onRest: one => this.#onRest(one),
        onClose: one => void this.#open.delete(one),
        requestsLeft: 1 + this.#prng.below(this.#habits.requestsPerConnectionMax),
      })
      this.#open.add(connection)
    }
    const number = this.#ledger.open(kind.mayRepeat)
    connection.ask(number, kind.request(number), isSlow)
    if (leavesAfterMs === null) return
    const asking = connection
    setTimeout(() => asking.abortIf(number), leavesAfterMs)
  }

  #onAnswer(number: number, fate: number, ms: number): void {
    this.#ledger.close(number, fate)
    if (fate === Fate.OK) this.latencies.push(ms)
  }

  #onRest(connection: Connection): void {
    if (connection.requestsLeft === 0) connection.close()
    else this.#resting.push(connection)
  }
}

interface ConnectionOptions {
  readonly slowPauseMs: number
  readonly requestsLeft: number
  onAnswer(number: number, fate: number, ms: number): void
  onRest(connection: Connection): void
  onClose(connection: Connection): void
}

const NO_BYTES = Buffer.alloc(0)
const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/** One client connection with at most one request under way. */
class Connection {
  readonly #socket: Socket
  readonly #options: ConnectionOptions
  #number = -1
  #sentAtMs = 0
  #head: Buffer = NO_BYTES
  #isInBody = false
  #status = 0
  /** Bytes of the body still to come; -1 for chunks. */
  #dueBytes = 0
  #tail: Buffer = NO_BYTES
  #isSlow = false
  #isWritten = false
  #wantsAbort = false
  isOver = false
  requestsLeft: number

  constructor(port: number, options: ConnectionOptions) {
    this.#options = options
    this.requestsLeft = options.requestsLeft
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true })
    this.#socket
      .on('data', piece => this.#onData(piece))
      .on('error', () => undefined)
      .on('close', () => this.#onClose())
  }

  ask(number: number, request: string, isSlow: boolean): void {
    this.#number = number
    this.#sentAtMs = performance.now()
    this.#head = NO_BYTES
    this.#isInBody = false
    this.#isSlow = isSlow
    this.requestsLeft -= 1
    this.#isWritten = false
    this.#wantsAbort = false
    this.#socket.write(request, 'latin1', () => {
      this.#isWritten = true
      if (this.#wantsAbort) this.abortIf(number)
    })
  }

  /** Leaves, if that request is still under way, as soon as all of it is sent: else nobody would know of it. */
  abortIf(number: number): void {
    if (this.#number !== number || this.isOver) return
    this.#wantsAbort = true
    if (this.#isWritten) this.abort()
  }

  abort(): void {
    this.#settle(Fate.ABORTED)
    this.isOver = true
    this.#socket.destroy()
  }

  close(): void {
    this.isOver = true
    this.#socket.end()
  }

  #settle(fate: number): void {
    if (this.#number < 0) return
    const number = this.#number
    this.#number = -1
    this.#options.onAnswer(number, fate, performance.now() - this.#sentAtMs)
  }

  #onData(piece: Buffer): void {
    if (this.#number < 0) return
    if (this.#isSlow) {
      this.#socket.pause()
      setTimeout(() => this.#socket.resume(), this.#options.slowPauseMs)
    }
    if (this.#isInBody) this.#onBody(piece)
    else this.#onHead(piece)
  }

  #onHead(piece: Buffer): void {
    this.#head = this.#head.length === 0 ? piece : Buffer.concat([this.#head, piece])
    const end = this.#head.indexOf('\r\n\r\n')
    if (end < 0) return
    const text = this.#head.toString('latin1', 0, end)
    const rest = this.#head.subarray(end + 4)
    this.#head = NO_BYTES
    this.#status = Number(text.slice(9, 12))
    if (this.#status < 200) {
      if (rest.length > 0) this.#onHead(rest)
      return
    }
    const length = /\r\ncontent-length: (\d+)/i.exec(text)?.[1]
    this.#dueBytes = length === undefined ? -1 : Number(length)
    this.#tail = NO_BYTES
    this.#isInBody = true
    this.#onBody(rest)
  }

  #onBody(piece: Buffer): void {
    if (this.#dueBytes >= 0) {
      this.#dueBytes -= piece.length
      if (this.#dueBytes <= 0) this.#complete()
      return
    }
    // Enough to see the last chunk; our bodies never contain it.
    this.#tail = Buffer.concat([this.#tail, piece]).subarray(-LAST_CHUNK.length)
    if (this.#tail.equals(LAST_CHUNK)) this.#complete()
  }

  #complete(): void {
    this.#settle(this.#status === 200 ? Fate.OK : Fate.ERROR)
    if (!this.isOver) this.#options.onRest(this)
  }

  #onClose(): void {
    this.isOver = true
    this.#settle(this.#isInBody || this.#head.length > 0 ? Fate.BROKEN : Fate.UNANSWERED)
    this.#options.onClose(this)
  }
}
