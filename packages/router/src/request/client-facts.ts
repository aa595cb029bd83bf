import type { Exchange } from '@waiter/proxy'
import { createAddressTest } from '../auth/address-list.ts'

/** What a client said to a proxy in front of Waiter: believed only from proxies that the configuration names. */
export interface ClientFacts {
  isHttps(exchange: Exchange): boolean
  /** The port of https on the host that the client named; undefined: the usual one. */
  httpsPort(exchange: Exchange): number | undefined
  /** `HTTP/1.1`, `HTTP/2.0`. */
  protocolOf(exchange: Exchange): string
}

/** @param trustedProxies addresses and networks of load balancers that set `x-forwarded-proto` themselves */
export function createClientFacts(
  trustedProxies: readonly string[],
  ownHttpsPort: () => number | undefined = () => undefined,
): ClientFacts {
  const isTrusted = trustedProxies.length === 0 ? () => false : createAddressTest(trustedProxies)
  return {
    isHttps: exchange => {
      if (exchange.isSecure) return true
      const forwarded = isTrusted(exchange.remoteAddress) ? exchange.head.get('x-forwarded-proto') : undefined
      return forwarded === undefined ? exchange.isSecure : forwarded.toLowerCase() === 'https'
    },
    httpsPort: exchange => (isTrusted(exchange.remoteAddress) ? undefined : ownHttpsPort()),
    protocolOf: exchange => {
      const version = isTrusted(exchange.remoteAddress) ? exchange.head.get('x-forwarded-proto-version') : undefined
      if (version === undefined || !/^[\w./]{1,16}$/.test(version)) return `HTTP/${exchange.head.httpVersion}`
      const upper = version.toUpperCase()
      return upper === 'HTTP/1' || upper === 'HTTP/2' ? `${upper}.0` : upper
    },
  }
}
