import { once } from 'node:events'
import type { ServerWritableStream } from '@grpc/grpc-js'
import { toServiceError } from './call-unary.ts'

/** Sends what is produced for as long as the caller listens, no faster than it takes it. */
export async function serveStream<T>(
  call: ServerWritableStream<unknown, T>,
  produce: (signal: AbortSignal) => AsyncIterable<T>,
): Promise<void> {
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
