import type { ProxiedRequest, RequestEnvironment } from './proxied-request.ts'
import { schemeOf } from './scheme.ts'

const NS_PER_MS = 1_000_000

/** Response headers for `x-waiter-debug` that are known when the request is forwarded (spec §1.6). */
export function debugRequestLines(
  request: ProxiedRequest,
  environment: Pick<RequestEnvironment, 'protocolOf' | 'renderHeader' | 'routerId'>,
  grantedAtMs: number,
): string {
  const { exchange, runtime, timeouts, cid, identity } = request.parts
  const lease = request.lease
  const facts: Record<string, string | number | undefined | null> = {
    'x-waiter-auth-method': identity?.method,
    'x-waiter-auth-principal': identity?.principal,
    'x-waiter-auth-user': identity?.user,
    'x-waiter-client-protocol': environment.protocolOf(exchange),
    'x-waiter-internal-protocol': `HTTP/${exchange.head.httpVersion}`,
    'x-waiter-request-date': new Date().toUTCString(),
    'x-waiter-request-id': `${cid}-${schemeOf(exchange)}`,
    'x-waiter-router-id': environment.routerId,
    'x-waiter-service-id': runtime.id,
    'x-waiter-backend-id': request.instanceId,
    'x-waiter-backend-host': lease?.host,
    'x-waiter-backend-port': lease?.port,
    'x-waiter-backend-proto': runtime.definition.effective['backend-proto'],
    'x-waiter-backend-directory': lease?.logDirectory,
    'x-waiter-backend-log-url': lease?.logDirectory
      ? `/apps/${runtime.id}/logs?instance-id=${request.instanceId}&host=${lease.host}`
      : null,
    'x-waiter-get-available-instance-ns': Math.round((grantedAtMs - exchange.arrivedAtMs) * NS_PER_MS),
    'x-waiter-queue-timeout-ms': timeouts.queueTimeoutMs,
    'x-waiter-socket-timeout-ms': timeouts.socketTimeoutMs,
    'x-waiter-streaming-timeout-ms': timeouts.streamingTimeoutMs,
    'x-waiter-total-timeout-ms': Number.isFinite(timeouts.totalTimeoutMs) ? timeouts.totalTimeoutMs : null,
    'x-waiter-timeout-warnings': timeouts.warnings.length === 0 ? null : timeouts.warnings.join(' '),
  }
  let lines = ''
  for (const [name, value] of Object.entries(facts))
    if (value !== undefined && value !== null) lines += environment.renderHeader(name, toHeaderValue(String(value)))
  return lines
}

/** Percent-encodes what a header cannot carry: paths and user names may hold any character. */
export function toHeaderValue(text: string): string {
  return text
    .toWellFormed()
    .trim()
    .replaceAll(/[^\x20-\x7e]+/g, encodeURIComponent)
}

/** What is known only once the backend answers. */
export function debugResponseLines(
  environment: Pick<RequestEnvironment, 'renderHeader'>,
  backendResponseMs: number,
  retries: number,
): string {
  return (
    environment.renderHeader('x-waiter-backend-response-ns', String(Math.round(backendResponseMs * NS_PER_MS))) +
    environment.renderHeader('x-waiter-retries', String(retries))
  )
}
