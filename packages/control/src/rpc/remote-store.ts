import type { CallOptions, Metadata, ServiceError } from '@grpc/grpc-js'
import { WaiterError } from '@waiter/base'
import { type Change, checkKey, checkValue, type KeyValueStore, type Outcome, type Versioned } from '@waiter/store/port'
import type {
  CompareAndSetResponse,
  GetResponse,
  KeyValueServiceClient,
  ListResponse,
  WatchResponse,
} from '../generated/waiter/v1/key_value.ts'
import { callUnary, fromServiceError } from './call-unary.ts'
import { ClientPool } from './client-pool.ts'
import { createRpcClients } from './clients.ts'
import type { ControlLocator } from './control-locator.ts'
import type { NodeAuth } from './node-auth.ts'

/** gRPC says this when a call could not even begin. */
const NEVER_SENT = /^No connection established/

/**
 * The cluster's store as seen from a router: the same port, over gRPC to a control node. Any will do; a call that could
 * not begin, and a read that broke, are tried once more with another one.
 */
export function createRemoteStore(locator: ControlLocator, auth: NodeAuth): KeyValueStore {
  const clients = new ClientPool(createRpcClients(auth).keyValue)
  const call = async <Response>(start: StartCall<Response>, isRepeatable: boolean): Promise<Response> => {
    const first = locator.any()
    try {
      return await callUnary<Response>((...rest) => start(clients.get(first), ...rest))
    } catch (error) {
      const second = locator.any()
      if (second === first || !mayRepeat(error, isRepeatable)) throw error
      return await callUnary<Response>((...rest) => start(clients.get(second), ...rest))
    }
  }
  return {
    get: async key => {
      const response = await call<GetResponse>((client, ...rest) => client.get({ key }, ...rest), true)
      return response.entry
    },
    compareAndSet: async (key, expected, value): Promise<Outcome> => {
      // Here too: the wire would turn what is not well-formed into something else.
      checkKey(key)
      if (value !== undefined) checkValue(value)
      const response = await call<CompareAndSetResponse>(
        (client, ...rest) => client.compareAndSet({ key, expected, value }, ...rest),
        false,
      )
      return response.written
        ? { kind: 'written', version: response.version }
        : { kind: 'conflict', current: response.current }
    },
    list: async function* (prefix): AsyncIterable<Versioned> {
      const listing = clients.get(locator.any()).list({ prefix })
      try {
        for await (const { entry } of listing as AsyncIterable<ListResponse>) if (entry) yield entry
      } catch (error) {
        throw fromServiceError(error as ServiceError)
      } finally {
        listing.cancel()
      }
    },
    watch: async function* (prefix, signal): AsyncIterable<Change> {
      const address = locator.any()
      const watching = clients.get(address).watch({ prefix })
      const cancel = (): void => watching.cancel()
      // The new leader has the news first; a node that hangs would never say that it has none any more.
      const unsubscribe = locator.onLeader(() => {
        if (locator.leader() !== address) cancel()
      })
      signal.addEventListener('abort', cancel, { once: true })
      if (signal.aborted) cancel()
      try {
        for await (const response of watching as AsyncIterable<WatchResponse>) yield toChange(response)
      } catch (error) {
        if (signal.aborted) return
        throw fromServiceError(error as ServiceError)
      } finally {
        unsubscribe()
        signal.removeEventListener('abort', cancel)
        watching.cancel()
      }
    },
    close: async () => clients.close(),
  }
}

type StartCall<Response> = (
  client: KeyValueServiceClient,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => unknown

function mayRepeat(error: unknown, isRepeatable: boolean): boolean {
  if (!(error instanceof WaiterError) || error.code !== 'WTR_CONTROL_UNREACHABLE') return false
  return isRepeatable || NEVER_SENT.test((error.cause as ServiceError).details)
}

function toChange(response: WatchResponse): Change {
  switch (response.change?.$case) {
    case 'put':
      return { kind: 'put', entry: response.change.value }
    case 'deleted':
      return { kind: 'delete', ...response.change.value }
    case 'syncedVersion':
      return { kind: 'synced', version: response.change.value }
    default:
      throw new WaiterError('the control node speaks a newer protocol: upgrade this node', { code: 'WTR_PROTOCOL' })
  }
}
