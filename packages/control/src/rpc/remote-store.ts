import type { ServiceError } from '@grpc/grpc-js'
import { WaiterError } from '@waiter/base'
import {
  type Change,
  checkKey,
  checkValue,
  checkWrites,
  type KeyValueStore,
  type Outcome,
  type Versioned,
} from '@waiter/store/port'
import type {
  CompareAndSetAllResponse,
  GetResponse,
  ListResponse,
  WatchResponse,
} from '../generated/waiter/v1/key_value.ts'
import { callUnary, fromServiceError } from './call-unary.ts'
import { ClientPool } from './client-pool.ts'
import { createRpcClients } from './clients.ts'
import type { ControlLocator } from './control-locator.ts'
import { LedCalls, mayDoElsewhere } from './led-calls.ts'
import type { NodeAuth } from './node-auth.ts'
import { RemoteWrites } from './remote-writes.ts'

/** A control node is patient with them for 30 s. */
const WRITE_ALL_MS = 40_000

/**
 * The cluster's store as seen from a router: the same port, over gRPC to a control node. Any will do, the leader is asked first;
 * when it is gone or leads no more before it has answered, the next one is asked (`LedCalls`, `RemoteWrites`).
 */
export function createRemoteStore(locator: ControlLocator, auth: NodeAuth): KeyValueStore {
  const clients = new ClientPool(createRpcClients(auth).keyValue)
  const calls = new LedCalls(locator, clients)
  const writes = new RemoteWrites(calls)
  return {
    get: async key => {
      const response = await calls.call<GetResponse>((client, ...rest) => client.get({ key }, ...rest), mayDoElsewhere)
      return response.entry
    },
    compareAndSet: async (key, expected, value): Promise<Outcome> => {
      // Here too: the wire would turn what is not well-formed into something else.
      checkKey(key)
      if (value !== undefined) checkValue(value)
      return await writes.compareAndSet({ key, expected, value })
    },
    compareAndSetAll: async (list): Promise<Outcome> => {
      checkWrites(list)
      const request = { writes: list.map(write => ({ ...write })) }
      // Not tried again here: the node that is asked does, under one name.
      const { written, version, current } = await callUnary<CompareAndSetAllResponse>(
        (...rest) => clients.get(locator.leader() ?? locator.any()).compareAndSetAll(request, ...rest),
        WRITE_ALL_MS,
      )
      return written ? { kind: 'written', version } : { kind: 'conflict', current }
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
