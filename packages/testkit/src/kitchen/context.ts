import type { AsyncRequests } from './async-requests.ts'
import type { KitchenOptions } from './options.ts'
import type { Visit } from './visit.ts'

/** What `/kitchen-state` tells; the request that asks does not count itself. */
export interface KitchenState {
  readonly 'async-requests': number
  readonly 'pending-http-requests': number
  readonly 'pending-ws-requests': number
  readonly 'total-http-requests': number
  readonly 'total-ws-requests': number
}

/** What pages and WebSockets share. */
export interface KitchenContext {
  readonly options: KitchenOptions
  readonly asyncRequests: AsyncRequests
  /** @param asker whose own request is left out */
  state(asker: 'http' | 'ws' | 'nobody'): KitchenState
  /** 200, unless somebody changed it for a while (`--enable-status-change`); applies this visit's wish first. */
  defaultStatus(visit: Visit): number
  /** Ends the process; a kitchen inside a test's process closes all connections instead. */
  exit(code: number): void
}
