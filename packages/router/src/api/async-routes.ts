import { WaiterError } from '@waiter/base'
import { authorizeRequest, computeRequestTimeouts, type TokenDefaults } from '@waiter/services'
import { endsAsyncRequest } from '@waiter/slots'
import { fieldsOfLines } from '../async/ask-status.ts'
import { AsyncCall, type CallAnswer } from '../async/async-call.ts'
import { AsyncFollowUp } from '../async/async-follow-up.ts'
import type { AsyncAbout, AsyncTicket } from '../async/async-tickets.ts'
import { InstanceAddresses, type InstancePlace } from '../async/instance-addresses.ts'
import { type ApiCall, type ApiParts, leaderOf, takenOver } from './api-context.ts'
import type { Endpoints } from './contract/endpoint.ts'

const TAG = 'asynchronous requests'
const DESCRIPTION = 'The address is what a service’s answer 202 had as `location`; it is sealed, and cannot be made up.'

/** `/waiter-async/v2/…` (spec §8): any router asks the instance that works on a request. */
export function addAsyncRoutes(endpoints: Endpoints, parts: ApiParts): void {
  const { options, table } = parts
  const leader = () => leaderOf(parts)
  const nowMs = () => performance.now()
  const addresses = new InstanceAddresses({ table, leader, nowMs })
  const followUp = new AsyncFollowUp({
    requests: () => parts.pipeline().asyncRequests,
    leader: parts.leader,
    nowMs,
    log: options.log,
  })
  const handle = (call: ApiCall, about: AsyncAbout): Promise<Response> =>
    serveCall(parts, call, about, { addresses, followUp })

  for (const method of ['get', 'delete'] as const)
    endpoints.add(
      {
        method,
        path: '/waiter-async/v2/status/*',
        summary: method === 'get' ? 'How does an asynchronous request go?' : 'Have an asynchronous request cancelled',
        description: DESCRIPTION,
        tag: TAG,
        access: 'user',
        answers:
          method === 'get'
            ? {
                200: { description: 'It is worked on. The body is the service’s.' },
                303: { description: '`location` is where the result is.' },
                410: { description: 'The service, or Waiter, knows nothing of it any more.' },
              }
            : {
                200: { description: 'It is cancelled.' },
                204: { description: 'It is cancelled.' },
                405: { description: 'The service does not cancel.' },
              },
      },
      ({ call }) => handle(call, 'status'),
    )
  for (const method of ['get', 'post', 'put', 'delete', 'patch'] as const)
    endpoints.add(
      {
        method,
        path: '/waiter-async/v2/result/*',
        summary: 'The result of an asynchronous request, which is over with that',
        description: DESCRIPTION,
        tag: TAG,
        access: 'user',
        answers: { 200: { description: 'As the service answers.' } },
      },
      ({ call }) => handle(call, 'result'),
    )
}

async function serveCall(
  parts: ApiParts,
  call: ApiCall,
  about: AsyncAbout,
  { addresses, followUp }: { readonly addresses: InstanceAddresses; readonly followUp: AsyncFollowUp },
): Promise<Response> {
  const { options } = parts
  const { exchange, context, identity, waiterHeaders } = call.env
  const { head } = exchange
  const pipeline = parts.pipeline()
  const { tickets } = pipeline.asyncRequests
  const read = tickets.read(head.path, head.query)
  if (read?.about !== about) throw unknownRequest()
  const { ticket } = read
  const place = await addresses.find(ticket.serviceId, ticket.instanceId)
  if (place === undefined) throw lostInstance(ticket)
  authorize(parts, call, ticket, place)
  const runtime = parts.table.open(place.definition)
  runtime.touch()
  const requestLines = pipeline.requestLinesOf(runtime, identity) + options.renderHeader('x-cid', context.cid)
  const base = { protocol: place.definition.effective['backend-proto'], host: place.host, port: place.port, target: '' }
  const onAnswered = (answer: CallAnswer): void => {
    if (endsAsyncRequest({ about, method: head.method, ...answer })) followUp.onOver(ticket)
    else if (about === 'status' && head.method === 'GET' && isWorking(answer))
      followUp.onWorking(ticket, { runtime, base, headers: () => fieldsOfLines(requestLines) })
  }
  const timeouts = computeRequestTimeouts({
    headers: waiterHeaders,
    timeouts: timeoutsOf(options.services.token.defaults),
  })
  new AsyncCall({
    exchange,
    about,
    ticket,
    tickets,
    place,
    requestLines,
    responseLines: [
      ...(context.answerHeaders ?? []),
      ['x-cid', context.cid] as const,
      ['via', `1.1 ${options.routerId}`] as const,
    ]
      .map(([name, value]) => options.renderHeader(name, value))
      .join(''),
    renderHeader: options.renderHeader,
    connectTimeoutMs: options.connectTimeoutMs,
    timeouts,
    onAnswered,
    answerError: error =>
      pipeline.answerError(exchange, context, error, { serviceId: ticket.serviceId, instanceId: ticket.instanceId }),
  }).start()
  return takenOver()
}

/** Does the instance say that it works, as its own looker understands it (rule AS2)? */
function isWorking({ status }: CallAnswer): boolean {
  return status === 200 || status === 202
}

/** Authorized like every request of the service (spec §7.8). */
function authorize(parts: ApiParts, call: ApiCall, ticket: AsyncTicket, { definition }: InstancePlace): void {
  const { isOpen: isAuthenticationDisabled, isPreauthorized } = ticket
  const about = { isAuthenticationDisabled, isPreauthorized, effective: definition.effective }
  const verdict = authorizeRequest(about, call.env.identity?.user, parts.options.entitlements)
  if (verdict.ok) return
  const { message, status, details } = verdict.error
  throw new WaiterError(message, { code: 'WTR_FORBIDDEN', status, details })
}

function timeoutsOf(defaults: TokenDefaults): Parameters<typeof computeRequestTimeouts>[0]['timeouts'] {
  return {
    queueTimeoutMs: defaults['queue-timeout-ms'],
    socketTimeoutMs: defaults['socket-timeout-ms'],
    streamingTimeoutMs: defaults['streaming-timeout-ms'],
  }
}

function unknownRequest(): WaiterError {
  return new WaiterError('No such asynchronous request: use the location of the answer as it is', {
    code: 'WTR_NO_SUCH_ASYNC_REQUEST',
    status: 404,
  })
}

function lostInstance({ serviceId, instanceId }: AsyncTicket): WaiterError {
  return new WaiterError('The instance that worked on this request has ended', {
    code: 'WTR_ASYNC_INSTANCE_GONE',
    status: 410,
    details: { 'service-id': serviceId, 'instance-id': instanceId },
  })
}
