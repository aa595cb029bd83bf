import { once } from 'node:events'
import type { ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js'
import type { Logger } from '@waiter/base'
import type { Change, KeyValueStore, Versioned } from '@waiter/store'
import type {
  CompareAndSetRequest,
  CompareAndSetResponse,
  Entry,
  GetRequest,
  GetResponse,
  KeyValueServiceServer,
  ListRequest,
  ListResponse,
  WatchRequest,
  WatchResponse,
} from '../generated/waiter/v1/key_value.ts'
import { toServiceError } from './call-unary.ts'

/** Offers a store to the other nodes. Failures keep their `WTR_` code so that the far side can rebuild them. */
export function createKeyValueHandlers(store: KeyValueStore, log: Logger): KeyValueServiceServer {
  const unary = async <T>(callback: sendUnaryData<T>, work: () => Promise<T>): Promise<void> => {
    try {
      callback(null, await work())
    } catch (error) {
      log.warn({ err: error }, 'a store call failed')
      callback(toServiceError(error))
    }
  }
  const stream = async <T>(
    call: ServerWritableStream<unknown, T>,
    produce: (signal: AbortSignal) => AsyncIterable<T>,
  ): Promise<void> => {
    const ended = new AbortController()
    call.on('cancelled', () => ended.abort())
    call.on('close', () => ended.abort())
    try {
      for await (const message of produce(ended.signal)) {
        if (ended.signal.aborted) return
        if (!call.write(message)) await once(call, 'drain', { signal: ended.signal })
      }
      call.end()
    } catch (error) {
      if (ended.signal.aborted) return
      // Not `destroy`: that ends the stream without a word, and the far side would wait for ever.
      call.emit('error', toServiceError(error))
    }
  }
  return {
    get: (call: ServerUnaryCall<GetRequest, GetResponse>, callback: sendUnaryData<GetResponse>) =>
      void unary(callback, async () => ({ entry: await store.get(call.request.key) })),
    compareAndSet: (
      call: ServerUnaryCall<CompareAndSetRequest, CompareAndSetResponse>,
      callback: sendUnaryData<CompareAndSetResponse>,
    ) =>
      void unary(callback, async () => {
        const outcome = await store.compareAndSet(call.request.key, call.request.expected, call.request.value)
        return outcome.kind === 'written'
          ? { written: true, version: outcome.version, current: undefined }
          : { written: false, version: 0, current: outcome.current }
      }),
    list: (call: ServerWritableStream<ListRequest, ListResponse>) =>
      void stream(call, async function* () {
        for await (const entry of store.list(call.request.prefix)) yield { entry }
      }),
    watch: (call: ServerWritableStream<WatchRequest, WatchResponse>) =>
      void stream(call, async function* (signal) {
        for await (const change of store.watch(call.request.prefix, signal)) yield toWatchResponse(change)
      }),
  }
}

function toWatchResponse(change: Change): WatchResponse {
  switch (change.kind) {
    case 'put':
      return { change: { $case: 'put', value: toEntry(change.entry) } }
    case 'delete':
      return { change: { $case: 'deleted', value: { key: change.key, version: change.version } } }
    case 'synced':
      return { change: { $case: 'syncedVersion', value: change.version } }
  }
}

function toEntry(entry: Versioned): Entry {
  return { key: entry.key, value: entry.value, version: entry.version }
}
