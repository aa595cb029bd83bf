import { WaiterError } from '@waiter/base'
import type { BodySink } from './body-sink.ts'

/** Gathers a request body for an answer of our own. */
export class BodyReader implements BodySink {
  readonly wantsPayload = true
  readonly promise: Promise<Uint8Array>
  readonly #limitBytes: number
  readonly #resolve: (body: Uint8Array) => void
  readonly #reject: (error: WaiterError) => void
  readonly #onOver: (isUnusable: boolean, status: number, message: string) => void
  readonly #pieces: Buffer[] = []
  #length = 0
  #isOver = false

  /** @param onOver told when reading ends; `isUnusable` when the engine must refuse by itself and close */
  constructor(limitBytes: number, onOver: (isUnusable: boolean, status: number, message: string) => void) {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
    this.promise = promise
    this.#resolve = resolve
    this.#reject = reject
    this.#limitBytes = limitBytes
    this.#onOver = onOver
  }

  onRequestBody(bytes: Buffer, start: number, end: number): void {
    if (this.#isOver) return
    this.#length += end - start
    if (this.#length > this.#limitBytes) this.failTooLarge()
    else this.#pieces.push(Buffer.from(bytes.subarray(start, end)))
  }

  onRequestEnd(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#onOver(false, 0, '')
    this.#resolve(Buffer.concat(this.#pieces, this.#length))
  }

  onRequestMalformed(detail: string): void {
    this.#fail('WTR_BODY_MALFORMED', 400, `the request body is malformed: ${detail}`, true)
  }

  onRequestStalled(): void {
    this.#fail('WTR_BODY_TIMEOUT', 408, 'the request body took too long', false)
  }

  failTooLarge(): void {
    this.#fail('WTR_BODY_TOO_LARGE', 413, `the request body is larger than ${this.#limitBytes} bytes`, false)
  }

  failClientGone(): void {
    this.#fail('WTR_CLIENT_GONE', 400, 'the client left before its request was complete', false)
  }

  #fail(code: string, status: number, message: string, isUnusable: boolean): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#pieces.length = 0
    this.#onOver(isUnusable, status, message)
    this.#reject(new WaiterError(message, { code, status }))
  }
}
