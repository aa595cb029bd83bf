import type { Slot } from '@waiter/slots'
import { targetOf } from '../request/own-targets.ts'
import type { ProxiedRequest, RequestEnvironment } from '../request/proxied-request.ts'
import { fieldsOfLines } from './ask-status.ts'
import type { AnsweredRequest } from './async-requests.ts'

/** A request that was answered 202, as those need it who may have to look after its slot. */
export function answeredRequest(
  { parts, protocol, requestTarget }: ProxiedRequest,
  slot: Slot,
  environment: Pick<RequestEnvironment, 'requestLinesOf'>,
): AnsweredRequest {
  const { exchange, runtime, descriptor, timeouts, identity, cid } = parts
  const target = requestTarget ?? targetOf(exchange.head.path, exchange.head.query)
  return {
    runtime,
    slot,
    base: { protocol, host: slot.host, port: slot.port, target },
    times: timeouts,
    isOpen: descriptor.isAuthenticationDisabled,
    isPreauthorized: descriptor.isPreauthorized,
    headers: () => ({ ...fieldsOfLines(environment.requestLinesOf(runtime, identity)), 'x-cid': cid }),
  }
}
