import { connect, createServer, type Server, type Socket } from 'node:net'

/** One end of a TCP connection under a test's control: what it received, and waiting for more. */
export class RawPeer {
  readonly socket: Socket
  /** Joined only when somebody looks: long bodies come in thousands of pieces. */
  #pieces: Buffer[] = []
  receivedLength = 0
  hasEnded = false
  isClosed = false
  error: NodeJS.ErrnoException | null = null
  readonly #waiters = new Set<() => void>()

  constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      this.#pieces.push(chunk)
      this.receivedLength += chunk.length
      this.#wake()
    })
    socket.on('end', () => {
      this.hasEnded = true
      this.#wake()
    })
    socket.on('error', error => {
      this.error = error
    })
    socket.on('close', () => {
      this.isClosed = true
      this.#wake()
    })
  }

  get received(): Buffer {
    if (this.#pieces.length !== 1) this.#pieces = [Buffer.concat(this.#pieces)]
    return this.#pieces[0]!
  }

  get text(): string {
    return this.received.toString('latin1')
  }

  write(data: string | Buffer): void {
    if (typeof data === 'string') this.socket.write(data, 'latin1')
    else this.socket.write(data)
  }

  /** Resolves with all text once it matches; rejects if the connection closes without that. */
  async until(wanted: string | RegExp | ((text: string) => boolean)): Promise<string> {
    await this.when(() =>
      typeof wanted === 'string'
        ? this.received.includes(wanted, 0, 'latin1')
        : typeof wanted === 'function'
          ? wanted(this.text)
          : wanted.test(this.text),
    )
    return this.text
  }

  /** Takes everything received so far. */
  take(): string {
    const { text } = this
    this.#pieces = []
    this.receivedLength = 0
    return text
  }

  /** Resolves when the other side has sent FIN or the connection is closed. */
  async ended(): Promise<void> {
    await this.when(() => this.hasEnded || this.isClosed)
  }

  async closed(): Promise<void> {
    await this.when(() => this.isClosed)
  }

  when(condition: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = (): void => {
        if (condition()) {
          this.#waiters.delete(check)
          resolve()
        } else if (this.isClosed) {
          this.#waiters.delete(check)
          reject(new Error(`connection closed; received ${JSON.stringify(this.text.slice(0, 2000))}`))
        }
      }
      this.#waiters.add(check)
      check()
    })
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter()
  }
}

/** Connects and wraps. */
export async function dial(port: number, host = '127.0.0.1'): Promise<RawPeer> {
  const socket = connect({ port, host, allowHalfOpen: true })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  return new RawPeer(socket)
}

/** A backend that does nothing by itself: a test takes its connections one by one. */
export class RawBackend {
  readonly server: Server
  readonly peers: RawPeer[] = []
  port = 0
  #taken = 0
  readonly #waiters: (() => void)[] = []
  /** Run for each connection at once, before anybody takes it. */
  onPeer: ((peer: RawPeer) => void) | null = null

  constructor() {
    this.server = createServer({ allowHalfOpen: true }, socket => {
      const peer = new RawPeer(socket)
      this.peers.push(peer)
      this.onPeer?.(peer)
      for (const waiter of this.#waiters.splice(0)) waiter()
    })
  }

  async listen(host = '127.0.0.1'): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject)
      this.server.listen(0, host, resolve)
    })
    this.port = (this.server.address() as { port: number }).port
  }

  /** The next connection nobody has taken. */
  async next(): Promise<RawPeer> {
    while (this.#taken >= this.peers.length) await new Promise<void>(resolve => this.#waiters.push(resolve))
    return this.peers[this.#taken++]!
  }

  async close(): Promise<void> {
    for (const peer of this.peers) peer.socket.destroy()
    await new Promise<void>(resolve => this.server.close(() => resolve()))
  }
}
