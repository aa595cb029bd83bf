/** What `/async/request` was asked to do. */
export interface AsyncOrder {
  readonly requestId: string
  /** How long "processing" takes. */
  readonly delayMs: number
  /** How long the result is kept after that. */
  readonly storeMs: number
  /** False: a DELETE is answered 405. */
  readonly allowCancel: boolean
  /** False: a successful DELETE is answered 200 instead of 204. */
  readonly answer204OnCancel: boolean
}

export type AsyncState = 'processing' | 'done' | 'unknown'

/** The asynchronous requests the kitchen pretends to work on. States follow from the clock: there are no timers. */
export interface AsyncRequests {
  start(order: AsyncOrder): void
  state(requestId: string): AsyncState
  order(requestId: string): AsyncOrder | undefined
  cancel(requestId: string): void
  /** Those that are neither cancelled nor expired. */
  count(): number
}

const ASYNC_REQUESTS_MAX = 100_000

/** @param now milliseconds of any steadily growing clock */
export function createAsyncRequests(now: () => number): AsyncRequests {
  const startedById = new Map<string, { readonly order: AsyncOrder; readonly atMs: number }>()
  const find = (requestId: string) => {
    const started = startedById.get(requestId)
    if (started === undefined) return undefined
    if (now() < started.atMs + started.order.delayMs + started.order.storeMs) return started
    startedById.delete(requestId)
    return undefined
  }
  const forgetExpired = (): void => {
    for (const requestId of startedById.keys()) find(requestId)
  }
  return {
    start: order => {
      if (startedById.size >= ASYNC_REQUESTS_MAX) forgetExpired()
      if (startedById.size >= ASYNC_REQUESTS_MAX) startedById.delete(startedById.keys().next().value as string)
      startedById.set(order.requestId, { order, atMs: now() })
    },
    state: requestId => {
      const started = find(requestId)
      if (started === undefined) return 'unknown'
      return now() < started.atMs + started.order.delayMs ? 'processing' : 'done'
    },
    order: requestId => find(requestId)?.order,
    cancel: requestId => void startedById.delete(requestId),
    count: () => {
      forgetExpired()
      return startedById.size
    },
  }
}
