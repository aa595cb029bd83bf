import { createSealedBox } from '../auth/sealed-box.ts'
import { nextRequestId } from '../request/request-context.ts'
import type { RouterOptions } from '../router-options.ts'
import { askStatus } from './ask-status.ts'
import { AsyncRequests } from './async-requests.ts'
import { AsyncTickets, TICKET_CHARS_MAX } from './async-tickets.ts'

/** Asynchronous requests of one router, with its clocks and its secrets. */
export function createAsyncRequests(options: RouterOptions): AsyncRequests {
  const box = createSealedBox({ ...options.authentication, purpose: 'async request', charsMax: TICKET_CHARS_MAX })
  return new AsyncRequests({
    routerId: options.routerId,
    tickets: new AsyncTickets(box),
    nowMs: () => performance.now(),
    wallMs: Date.now,
    after: (delayMs, callback) => {
      const timer = setTimeout(callback, delayMs)
      return () => clearTimeout(timer)
    },
    askStatus,
    nextId: nextRequestId,
    log: options.log,
  })
}
