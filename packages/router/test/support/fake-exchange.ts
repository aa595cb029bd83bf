import type { Exchange, ForwardTarget, Outcome, OwnResponse, RequestHead } from '@waiter/proxy'

/** A request head with these fields. */
export function headOf(parts: {
  readonly path?: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>> | readonly (readonly [string, string])[]
}): RequestHead {
  const given = parts.headers ?? {}
  const fields = Array.isArray(given) ? (given as [string, string][]) : Object.entries(given as Record<string, string>)
  const get = (lowerName: string): string | undefined => {
    const values = fields.filter(([name]) => name.toLowerCase() === lowerName).map(([, value]) => value)
    return values.length === 0 ? undefined : values.join(', ')
  }
  const [path = '/', query] = (parts.path ?? '/').split('?', 2)
  const authority = get('host') ?? ''
  const head: Partial<RequestHead> = {
    method: parts.method ?? 'GET',
    target: parts.path ?? '/',
    path,
    query: query ?? null,
    httpVersion: '1.1',
    host: authority.replace(/:\d+$/, '').toLowerCase(),
    authority,
    bodyKind: 'none',
    contentLength: 0,
    isUpgrade: false,
    expectsContinue: false,
    fieldCount: fields.length,
    get,
    has: name => get(name) !== undefined,
    forEach: callback => {
      for (const [name, value] of fields) callback(name, value)
    },
  }
  return head as RequestHead
}

/** An exchange in the test's hands: remembers where it was forwarded and how it was answered. */
export class FakeExchange {
  readonly head: RequestHead
  readonly remoteAddress = '127.0.0.1'
  readonly localPort = 9091
  isSecure = false
  readonly arrivedAtMs: number
  isFinished = false
  isAborted = false
  onClientGone: (() => void) | null = null
  readonly targets: ForwardTarget[] = []
  readonly answers: OwnResponse[] = []
  #isForwarding = false

  constructor(options: { readonly head?: RequestHead; readonly arrivedAtMs?: number } = {}) {
    this.head = options.head ?? headOf({ headers: { host: 'app.example.com' } })
    this.arrivedAtMs = options.arrivedAtMs ?? 0
  }

  /** What code under test takes it for. */
  get exchange(): Exchange {
    return this as unknown as Exchange
  }

  forward(target: ForwardTarget): void {
    if (this.#isForwarding) throw new Error('forwarded twice at a time')
    if (this.isFinished) {
      target.onOutcome({ kind: 'client-gone', phase: 'waiting' })
      return
    }
    this.#isForwarding = true
    // Copied: an owner may use one target over and over.
    this.targets.push({
      ...target,
      get replacedLocation() {
        return target.replacedLocation
      },
      onOutcome: outcome => target.onOutcome(outcome),
      onResponseHead: (status, get, fieldCount) => target.onResponseHead?.(status, get, fieldCount),
      onResponseTrailers: get => target.onResponseTrailers?.(get),
    })
  }

  respond(response: OwnResponse): void {
    if (this.isFinished) return
    this.#cancel()
    this.isFinished = true
    this.answers.push(response)
  }

  abort(): void {
    this.isAborted = true
    this.isFinished = true
    this.#cancel()
  }

  /** As the engine does: the forward in progress has no other end. */
  #cancel(): void {
    if (!this.#isForwarding) return
    this.#isForwarding = false
    this.targets.at(-1)?.onOutcome({ kind: 'aborted' })
  }

  /** The forward in progress ends like this. */
  end(outcome: Outcome): void {
    const target = this.targets.at(-1)
    if (target === undefined || !this.#isForwarding) throw new Error('nothing is being forwarded')
    this.#isForwarding = false
    const isOpen = ['not-sent', 'failed-before-response', 'response-timeout'].includes(outcome.kind)
    if (!isOpen) this.isFinished = true
    target.onOutcome(outcome)
  }

  leave(): void {
    if (this.#isForwarding) this.end({ kind: 'client-gone', phase: 'waiting' })
    this.isFinished = true
    this.onClientGone?.()
  }

  get isForwarding(): boolean {
    return this.#isForwarding
  }
}
