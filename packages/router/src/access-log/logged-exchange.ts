import type { Exchange, ForwardTarget, OwnResponse, RequestHead, StreamWriter } from '@waiter/proxy'
import type { AccessLog, LoggedIdentity, MeantService, RequestType } from './access-log.ts'

/** An exchange that Waiter answers itself: whoever answers it, and however it ends, there is one line in the log. */
export class LoggedExchange implements Exchange {
  readonly #inner: Exchange
  readonly #log: AccessLog
  readonly #about: { readonly cid: string; readonly type: RequestType }
  #isLogged = false
  /** Of the error that is about to be answered. */
  errorClass: string | undefined
  /** Who sent it, once that is known. */
  identity: LoggedIdentity | undefined
  /** Which service it was for, when it was for one. */
  meant: MeantService | undefined
  onClientGone: (() => void) | null = null

  constructor(inner: Exchange, log: AccessLog, about: { readonly cid: string; readonly type: RequestType }) {
    this.#inner = inner
    this.#log = log
    this.#about = about
    inner.onClientGone = () => {
      this.#record(undefined)
      this.onClientGone?.()
    }
  }

  get head(): RequestHead {
    return this.#inner.head
  }

  get remoteAddress(): string {
    return this.#inner.remoteAddress
  }

  get localPort(): number {
    return this.#inner.localPort
  }

  get isSecure(): boolean {
    return this.#inner.isSecure
  }

  get arrivedAtMs(): number {
    return this.#inner.arrivedAtMs
  }

  get isFinished(): boolean {
    return this.#inner.isFinished
  }

  /** The request goes to a service after all, which has a line of its own. */
  release(): void {
    this.#isLogged = true
    this.#inner.onClientGone = null
  }

  forward(target: ForwardTarget): void {
    this.#inner.forward(target)
  }

  /** What was forwarded is over; undefined: without an answer. */
  onForwarded(status: number | undefined): void {
    this.#record(status)
  }

  respond(response: OwnResponse): void {
    // The line first: once answered, the connection may go on with the next head.
    if (!this.isFinished) this.#record(response.status, grpcStatusOf(response))
    this.#inner.respond(response)
  }

  respondStream(response: Omit<OwnResponse, 'body'>): StreamWriter {
    if (!this.isFinished) this.#record(response.status)
    return this.#inner.respondStream(response)
  }

  readBody(limitBytes: number): Promise<Uint8Array> {
    return this.#inner.readBody(limitBytes)
  }

  abort(): void {
    this.#record(undefined)
    this.#inner.abort()
  }

  closeTunnel(): void {
    this.#inner.closeTunnel()
  }

  #record(status: number | undefined, grpcStatus?: string): void {
    if (this.#isLogged) return
    this.#isLogged = true
    const { errorClass, identity, meant } = this
    this.#log.own(this.#inner, { ...this.#about, status, errorClass, grpcStatus, identity, meant })
  }
}

function grpcStatusOf({ headers }: OwnResponse): string | undefined {
  return headers.find(([name]) => name === 'grpc-status')?.[1]
}
