import type { ClientConnection } from './client-connection.ts'
import type { ClientSocket } from './client-socket.ts'
import type { EngineContext } from './engine-context.ts'
import type { ExchangeSide } from './exchange-side.ts'
import type { H1RequestHead } from './h1/request-head.ts'

/** A client's connection, whatever it speaks, as the server keeps it. */
export interface ClientPeer {
  /** Bytes held in user space. */
  readonly bufferedBytes: number
  /** Ends a resting connection, lets a busy one finish. */
  drain(): void
  destroy(): void
}

/** What becomes of the set of connections. */
export interface ConnectionOwner {
  readonly context: EngineContext
  createExchange(connection: ClientConnection, head: H1RequestHead): ExchangeSide
  startExchange(side: ExchangeSide): void
  /** The client speaks HTTP/2: its socket goes to another connection, which takes the bytes that have come. */
  becomeHttp2(
    connection: ClientConnection,
    socket: ClientSocket,
  ): { receive(bytes: Buffer, start: number, end: number): void }
  forget(peer: ClientPeer): void
}
