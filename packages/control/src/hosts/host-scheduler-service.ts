import type { ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js'
import { type Logger, type Term, WaiterError } from '@waiter/base'
import type { Fence, HostCapacity, Scheduler } from '@waiter/schedulers'
import type { ServiceDefinition } from '@waiter/services'
import type {
  HostOrder,
  HostSchedulerServiceServer,
  WatchHostRequest,
  WatchHostResponse,
} from '../generated/waiter/v1/host_scheduler.ts'
import { toServiceError } from '../rpc/call-unary.ts'
import { serveStream } from '../rpc/serve-stream.ts'

/** A leader that hears nothing for a few of these looks for another process of the host. */
export const SIGN_OF_LIFE_EVERY_MS = 500

/** The scheduler of one host, as the process that keeps it offers it to the leader. */
export interface KeptHost {
  readonly capacity: HostCapacity
  readonly scheduler: Scheduler
  /** Whether the host is about to stop, at present. */
  readonly drains: () => boolean
}

/** Who keeps the scheduler of this host, as a control process of the host sees it. */
export interface HostSeat {
  /**
   * The leader of this term has come here to have the scheduler kept: this process takes it over, from whichever process
   * of the host had it.
   *
   * @throws WaiterError `WTR_FENCED` when a higher term has acted
   */
  take(fence: Fence): Promise<KeptHost>
  /** @throws WaiterError when this process does not keep it now ({@link notHostKeeper}) */
  current(): KeptHost
}

/** This process does not serve the host's scheduler: another one does, or none at present. */
export function notHostKeeper(hostId: string): WaiterError {
  return new WaiterError(`this process does not keep the scheduler of the host ${hostId}; another one of it may`, {
    code: 'WTR_NOT_HOST_KEEPER',
    status: 503,
    retryable: true,
  })
}

/**
 * Offers the scheduler of this host to whoever leads. The process that the leader watches keeps it; when that one dies or
 * hangs, the leader goes to another one of the host.
 *
 * @param hostId a call for another host is refused: addresses are used again
 */
export function createHostSchedulerHandlers(hostId: string, seat: HostSeat, log: Logger): HostSchedulerServiceServer {
  const fenceOf = (order: HostOrder | undefined): Fence => {
    if (order === undefined || order.hostId !== hostId) throw notHostKeeper(order?.hostId ?? '')
    return { term: order.term }
  }
  /** Everything but logs changes something: the scheduler looks at the term itself. */
  const unary =
    <Request extends { order: HostOrder | undefined }, Response>(
      work: (scheduler: Scheduler, request: Request, fence: Fence) => Promise<Response>,
    ) =>
    (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void =>
      void answer(callback, log, async () => {
        const fence = fenceOf(call.request.order)
        return await work(seat.current().scheduler, call.request, fence)
      })
  const watchers = new Watchers()
  return {
    watchHost: (call: ServerWritableStream<WatchHostRequest, WatchHostResponse>) =>
      void serveStream(call, async function* (signal) {
        const fence = fenceOf(call.request.order)
        const host = await seat.take(fence)
        using watcher = watchers.admit(fence)
        yield* watchHost(host, call, AbortSignal.any([signal, watcher.signal]))
      }),
    createHosted: unary(async (scheduler, { definitionJson, count }, fence) => {
      await scheduler.create(parseDefinition(definitionJson), count, fence)
      return {}
    }),
    scaleHosted: unary(async (scheduler, { serviceId, to }, fence) => {
      await scheduler.scale(serviceId, to, fence)
      return {}
    }),
    killHosted: unary(async (scheduler, { serviceId, instanceId, graceMs, reason }, fence) => {
      const { kind } = await scheduler.kill({ serviceId, instanceId, graceMs, reason }, fence)
      return { isKilled: kind === 'killed' }
    }),
    deleteHosted: unary(async (scheduler, { serviceId }, fence) => {
      await scheduler.delete(serviceId, fence)
      return {}
    }),
    updateHosted: unary(async (scheduler, { definitionJson }, fence) => {
      await scheduler.update(parseDefinition(definitionJson), fence)
      return {}
    }),
    noteHostedUse: unary(async (scheduler, { serviceIds }) => {
      for (const id of serviceIds) scheduler.noteUse?.(id)
      return {}
    }),
    listHostedLogs: unary(async (scheduler, { serviceId, instanceId, path }) => ({
      entriesJson: JSON.stringify(await scheduler.logs({ serviceId, instanceId }, path)),
    })),
    readHostedLog: unary(async (scheduler, { serviceId, instanceId, path, offset, length }) => {
      const { content, size } = await scheduler.readLog({ serviceId, instanceId }, path, { offset, length })
      return { content, size }
    }),
  }
}

/**
 * Who watches. A leader that does not know yet that it was deposed hears nothing any more from the moment that its
 * successor watches: the successor may rely on that for what starts from then on.
 */
class Watchers {
  readonly #terms = new Map<AbortController, Term>()
  #highest: Term = 0

  admit({ term }: Fence): Disposable & { readonly signal: AbortSignal } {
    const own = new AbortController()
    this.#terms.set(own, term)
    this.#highest = Math.max(this.#highest, term)
    for (const [ending, ofTerm] of this.#terms) if (ofTerm < this.#highest) ending.abort()
    return { signal: own.signal, [Symbol.dispose]: () => this.#terms.delete(own) }
  }
}

async function answer<T>(callback: sendUnaryData<T>, log: Logger, work: () => Promise<T>): Promise<void> {
  try {
    callback(null, await work())
  } catch (error) {
    log.warn({ err: error }, 'an order of the leader to this host failed')
    callback(toServiceError(error))
  }
}

async function* watchHost(
  { capacity, scheduler, drains }: KeptHost,
  call: ServerWritableStream<WatchHostRequest, WatchHostResponse>,
  signal: AbortSignal,
): AsyncIterable<WatchHostResponse> {
  const signOfLife = (): WatchHostResponse => ({ news: { $case: 'signOfLife', value: { drains: drains() } } })
  yield { news: { $case: 'capacity', value: capacity } }
  yield signOfLife()
  const alive = setInterval(() => {
    if (!call.writableNeedDrain && !signal.aborted) call.write(signOfLife())
  }, SIGN_OF_LIFE_EVERY_MS)
  try {
    for await (const event of scheduler.watch(signal))
      yield { news: { $case: 'eventJson', value: JSON.stringify(event) } }
  } finally {
    clearInterval(alive)
  }
}

function parseDefinition(json: string): ServiceDefinition {
  try {
    return JSON.parse(json) as ServiceDefinition
  } catch (error) {
    throw new WaiterError('the leader speaks a newer protocol: upgrade this node', {
      code: 'WTR_PROTOCOL',
      cause: error,
    })
  }
}
