/**
 * The wire engine of the data plane: HTTP/1.1 and HTTP/2 on raw sockets in, exchanges out.
 *
 * **Purpose.** Parse strictly, relay fast, and say exactly once how each request ended. The owner decides where a request
 * goes; the engine knows hosts and ports, never services.
 *
 * **Contract.** `createProxyServer({ onExchange, headerPolicy, log })`, then `listen`. `onExchange` runs synchronously
 * for each valid request; the owner calls `forward` or `respond`/`respondStream` at once or later, and again after each
 * outcome that leaves the client waiting (see `Outcome`). Lines given as `extraRequestHead` and `extraResponseHead` must
 * come from `renderHeader`: the engine copies them to the wire as they are.
 *
 * **What it does not do.** Access logs, retries on another backend, `x-forwarded-*`, health checks: those
 * belong to other layers or are the owner's policy. README.md draws the layers and lists what is refused.
 */
export { type Clock, systemClock } from './clock.ts'
export { createProxyServer } from './create-proxy-server.ts'
export type {
  BackendProtocol,
  Exchange,
  ForwardTarget,
  HeaderGetter,
  OwnResponse,
  RequestHead,
  StreamWriter,
} from './exchange.ts'
export { isValidHeaderName, isValidHeaderValue, renderHeader } from './header-lines.ts'
export type { HeaderPolicy } from './header-policy.ts'
export { DEFAULT_LIMITS, type ProxyLimits } from './limits.ts'
export type { ClientPhase, FailureReason, NotSentReason, Outcome } from './outcome.ts'
export type {
  ListenOptions,
  ProxyServer,
  ProxyServerOptions,
  ProxyStats,
  Refusal,
  RenderError,
} from './proxy-server.ts'
export { Certificate, type CertificatePem, loadCertificate, type TlsVersion } from './tls/certificate.ts'
export { normalizeServerName } from './tls/sni-table.ts'
export type { Certificates, TlsTerms } from './tls/tls-listener.ts'
export type { UpstreamTls } from './upstream-socket.ts'
