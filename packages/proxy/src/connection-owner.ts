import type { ClientConnection } from './client-connection.ts'
import type { EngineContext } from './engine-context.ts'
import type { ExchangeSide } from './exchange-side.ts'
import type { H1RequestHead } from './h1/request-head.ts'

/** What becomes of the set of connections. */
export interface ConnectionOwner {
  readonly context: EngineContext
  createExchange(connection: ClientConnection, head: H1RequestHead): ExchangeSide
  startExchange(side: ExchangeSide): void
  forget(connection: ClientConnection): void
}
