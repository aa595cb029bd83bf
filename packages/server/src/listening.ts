import { createServer } from 'node:net'
import { WaiterError } from '@waiter/base'
import type { Bind } from './process/messages.ts'

/**
 * Listens, or says what keeps us from it and how to mend that.
 *
 * @throws WaiterError WTR_LISTEN_FAILED
 */
export async function listenOrExplain<T>(attempt: () => Promise<T>, bind: Bind, mend = '--port P'): Promise<T> {
  try {
    return await attempt()
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    throw new WaiterError(explain(bind, String(code ?? 'unknown error'), mend), {
      code: 'WTR_LISTEN_FAILED',
      cause: error,
    })
  }
}

function explain({ host, port }: Bind, code: string, mend: string): string {
  if (code === 'EADDRINUSE')
    return `port ${port} on ${host} is in use: stop what uses it, or choose another with ${mend} (0: any free one)`
  if (code === 'ENOTSUP') return 'this system cannot share a port between processes: start with --workers 1'
  return `cannot listen on ${host}:${port} (${code}): check host and port in the configuration`
}

/**
 * Makes sure that nobody else listens there. Workers that share a port would share it with any other program of the same
 * user that does so too, for example a second Waiter, and each would get some of the connections.
 *
 * @throws WaiterError WTR_LISTEN_FAILED
 */
export async function requireFreePort(bind: Bind, mend?: string): Promise<void> {
  if (bind.port === 0) return
  await listenOrExplain(
    async () => {
      const server = createServer()
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      server.once('error', reject)
      server.listen({ host: bind.host, port: bind.port, exclusive: true }, resolve)
      await promise
      await new Promise<void>(closed => server.close(() => closed()))
    },
    bind,
    mend,
  )
}
