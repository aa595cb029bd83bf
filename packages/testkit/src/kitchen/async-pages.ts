import type { KitchenContext } from './context.ts'
import type { Reply } from './reply.ts'
import type { Visit } from './visit.ts'

type AsyncPage = (visit: Visit, kitchen: KitchenContext) => Reply

const PROCESSING_MS = 20_000
const STORE_MS = 10_000

/** `/async/request` → 202 → `/async/status` (200, then 303) → `/async/result`. */
export const asyncPages: readonly (readonly [string, AsyncPage])[] = [
  ['/async/request', acceptPage],
  ['/async/status', statusPage],
  ['/async/result', resultPage],
]

function acceptPage(visit: Visit, kitchen: KitchenContext): Reply {
  const requestId = visit.wish('request-id') ?? crypto.randomUUID()
  kitchen.asyncRequests.start({
    requestId,
    delayMs: visit.wishNumber('delay-ms', PROCESSING_MS),
    storeMs: visit.wishNumber('store-async-response-ms', STORE_MS),
    allowCancel: isNotRefused(visit, 'allow-async-cancel'),
    answer204OnCancel: isNotRefused(visit, '204-on-async-cancel'),
  })
  const location = `/async/status?request-id=${encodeURIComponent(requestId)}`
  const headers = { location, 'x-kitchen-request-id': requestId }
  return { status: 202, headers, body: `Accepted request ${requestId}` }
}

function statusPage(visit: Visit, kitchen: KitchenContext): Reply {
  const requestId = visit.query.get('request-id') ?? ''
  if (visit.request.method === 'DELETE') return cancel(visit, kitchen, requestId)
  switch (kitchen.asyncRequests.state(requestId)) {
    case 'processing':
      return { status: 200, body: `Still processing request ${requestId}` }
    case 'done': {
      const location = `/async/result?request-id=${encodeURIComponent(requestId)}`
      return { status: 303, headers: { location }, body: `Processed request ${requestId}` }
    }
    default:
      return gone(410, requestId)
  }
}

/** The wishes about cancelling count whether they came with the DELETE or with the request that it cancels. */
function cancel(visit: Visit, kitchen: KitchenContext, requestId: string): Reply {
  const order = kitchen.asyncRequests.order(requestId)
  if (order === undefined) return gone(410, requestId)
  if (!order.allowCancel || !isNotRefused(visit, 'allow-async-cancel')) {
    return { status: 405, body: `Not cancelling request ${requestId}` }
  }
  kitchen.asyncRequests.cancel(requestId)
  if (!order.answer204OnCancel || !isNotRefused(visit, '204-on-async-cancel')) {
    return { status: 200, body: `Cancelled request ${requestId}` }
  }
  return { status: 204, body: '' }
}

function resultPage(visit: Visit, kitchen: KitchenContext): Reply {
  const requestId = visit.query.get('request-id') ?? ''
  if (kitchen.asyncRequests.state(requestId) !== 'done') return gone(404, requestId)
  const body = JSON.stringify({ message: 'Hello World', 'request-id': requestId })
  return { status: 200, headers: { 'content-type': 'application/json' }, body }
}

function gone(status: number, requestId: string): Reply {
  return { status, body: `No data found for request ${requestId}` }
}

function isNotRefused(visit: Visit, name: string): boolean {
  return visit.wish(name)?.toLowerCase() !== 'false'
}
