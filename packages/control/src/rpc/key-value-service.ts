import type { ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js'
import type { Logger } from '@waiter/base'
import type { Change, KeyValueStore, OnceOutcome, Versioned, WriteSessions } from '@waiter/store'
import { storeLimit } from '@waiter/store/port'
import type {
  CompareAndSetAllRequest,
  CompareAndSetAllResponse,
  CompareAndSetRequest,
  CompareAndSetResponse,
  Entry,
  GetRequest,
  GetResponse,
  KeyValueServiceServer,
  ListRequest,
  ListResponse,
  OpenSessionRequest,
  OpenSessionResponse,
  WatchRequest,
  WatchResponse,
} from '../generated/waiter/v1/key_value.ts'
import { toServiceError } from './call-unary.ts'
import { serveStream } from './serve-stream.ts'

/** Offers a store to the other nodes. Failures keep their `WTR_` code so that the far side can rebuild them. */
export function createKeyValueHandlers(
  store: KeyValueStore & Partial<WriteSessions>,
  log: Logger,
): KeyValueServiceServer {
  const unary = async <T>(callback: sendUnaryData<T>, work: () => Promise<T>): Promise<void> => {
    try {
      callback(null, await work())
    } catch (error) {
      log.warn({ err: error }, 'a store call failed')
      callback(toServiceError(error))
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
        const { key, expected, value, id } = call.request
        if (id === undefined || store.compareAndSetOnce === undefined)
          return toResponse(await store.compareAndSet(key, expected, value))
        return toResponse(await store.compareAndSetOnce({ key, expected, value }, id))
      }),
    compareAndSetAll: (
      call: ServerUnaryCall<CompareAndSetAllRequest, CompareAndSetAllResponse>,
      callback: sendUnaryData<CompareAndSetAllResponse>,
    ) =>
      void unary(callback, async () => {
        if (store.compareAndSetAll === undefined) throw storeLimit('This store writes one key at a time.')
        const writes = call.request.writes.map(({ key, expected, value }) => ({ key, expected, value }))
        const outcome = await store.compareAndSetAll(writes)
        return outcome.kind === 'written'
          ? { written: true, version: outcome.version }
          : { written: false, version: 0, current: outcome.current }
      }),
    openSession: (
      _call: ServerUnaryCall<OpenSessionRequest, OpenSessionResponse>,
      callback: sendUnaryData<OpenSessionResponse>,
    ) => void unary(callback, async () => ({ session: (await store.openSession?.()) ?? 0 })),
    list: (call: ServerWritableStream<ListRequest, ListResponse>) =>
      void serveStream(call, async function* () {
        for await (const entry of store.list(call.request.prefix)) yield { entry }
      }),
    watch: (call: ServerWritableStream<WatchRequest, WatchResponse>) =>
      void serveStream(call, async function* (signal) {
        for await (const change of store.watch(call.request.prefix, signal)) yield toWatchResponse(change)
      }),
  }
}

const NOT_WRITTEN = { written: false, version: 0, current: undefined, refused: false, mayHaveHappened: false }

function toResponse(outcome: OnceOutcome): CompareAndSetResponse {
  switch (outcome.kind) {
    case 'written':
      return { ...NOT_WRITTEN, written: true, version: outcome.version }
    case 'conflict':
      return { ...NOT_WRITTEN, current: outcome.current }
    case 'refused':
      return { ...NOT_WRITTEN, refused: true, mayHaveHappened: outcome.mayHaveHappened }
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
