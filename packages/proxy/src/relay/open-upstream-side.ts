import type { EngineContext } from '../engine-context.ts'
import type { ForwardTarget } from '../exchange.ts'
import { Http1UpstreamSide } from './http1-upstream-side.ts'
import { Http2UpstreamSide } from './http2-upstream-side.ts'
import type { OutgoingRequest } from './request-fields.ts'
import type { RelayUpstream, RelayUpstreamHandler } from './sides.ts'

/** The backend's side of a relay, by the protocol that the target speaks. */
export function openUpstreamSide(
  context: EngineContext,
  target: ForwardTarget,
  { head, scanner }: Pick<OutgoingRequest, 'head' | 'scanner'>,
  handler: RelayUpstreamHandler,
): RelayUpstream {
  const { host, port, requestTarget, extraRequestHead, changedRequestField, protocol = 'http' } = target
  const request: OutgoingRequest = {
    head,
    scanner,
    policy: context.policy,
    extraRequestHead,
    target: requestTarget,
    changedField: changedRequestField,
    defaultAuthority: host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
  }
  const tls = protocol === 'https' || protocol === 'h2' ? context.upstreamTls : undefined
  if (protocol === 'h2' || protocol === 'h2c') return new Http2UpstreamSide(context, tls, target, request, handler)
  const pool = tls === undefined ? context.pool : context.securePool
  return new Http1UpstreamSide(context, pool, target, request, handler)
}
