import type { ServiceError } from '@grpc/grpc-js'
import { WaiterError } from '@waiter/base'
import { type Change, checkKey, checkValue, type KeyValueStore, type Outcome, type Versioned } from '@waiter/store/port'
import {
  type CompareAndSetResponse,
  type GetResponse,
  KeyValueServiceClient,
  type ListResponse,
  type WatchResponse,
} from '../generated/waiter/v1/key_value.ts'
import { callUnary, fromServiceError } from './call-unary.ts'
import { channelOptions } from './channel-options.ts'
import type { NodeAuth } from './node-auth.ts'

/**
 * The cluster's store as seen from a router: the same port, over gRPC to a control node.
 *
 * @param address `host:port` of the control node
 */
export function createRemoteStore(address: string, auth: NodeAuth): KeyValueStore {
  const client = new KeyValueServiceClient(address, auth.channelCredentials, channelOptions(auth))
  return {
    get: async key => {
      const response = await callUnary<GetResponse>((metadata, options, callback) =>
        client.get({ key }, metadata, options, callback),
      )
      return response.entry
    },
    compareAndSet: async (key, expected, value): Promise<Outcome> => {
      // Here too: the wire would turn what is not well-formed into something else.
      checkKey(key)
      if (value !== undefined) checkValue(value)
      const response = await callUnary<CompareAndSetResponse>((metadata, options, callback) =>
        client.compareAndSet({ key, expected, value }, metadata, options, callback),
      )
      return response.written
        ? { kind: 'written', version: response.version }
        : { kind: 'conflict', current: response.current }
    },
    list: async function* (prefix): AsyncIterable<Versioned> {
      const call = client.list({ prefix })
      try {
        for await (const { entry } of call as AsyncIterable<ListResponse>) if (entry) yield entry
      } catch (error) {
        throw fromServiceError(error as ServiceError)
      } finally {
        call.cancel()
      }
    },
    watch: async function* (prefix, signal): AsyncIterable<Change> {
      const call = client.watch({ prefix })
      const cancel = (): void => call.cancel()
      signal.addEventListener('abort', cancel, { once: true })
      if (signal.aborted) cancel()
      try {
        for await (const response of call as AsyncIterable<WatchResponse>) yield toChange(response)
      } catch (error) {
        if (signal.aborted) return
        throw fromServiceError(error as ServiceError)
      } finally {
        signal.removeEventListener('abort', cancel)
        call.cancel()
      }
    },
    close: async () => client.close(),
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
