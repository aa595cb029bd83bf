import type { Exchange } from '@waiter/proxy'
import { createAddressTest } from '../auth/address-list.ts'

/** What a client said to a proxy in front of Waiter: believed only from proxies that the configuration names. */
export interface ClientFacts {
  isHttps(exchange: Exchange): boolean
  /** `HTTP/1.1`, `HTTP/2.0`. */
  protocolOf(exchange: Exchange): string
}

/** @param trustedProxies addresses and networks of load balancers that set `x-forwarded-proto` themselves */
export function createClientFacts(trustedProxies: readonly string[]): ClientFacts {
  const isTrusted = trustedProxies.length === 0 ? () => false : createAddressTest(trustedProxies)
  return {
    isHttps: exchange => {
      const forwarded = isTrusted(exchange.remoteAddress) ? exchange.head.get('x-forwarded-proto') : undefined
      return forwarded === undefined ? exchange.isSecure : forwarded.toLowerCase() === 'https'
    },
    protocolOf: exchange => {
      const version = isTrusted(exchange.remoteAddress) ? exchange.head.get('x-forwarded-proto-version') : undefined
      if (version === undefined || !/^[\w./]{1,16}$/.test(version)) return `HTTP/${exchange.head.httpVersion}`
      const upper = version.toUpperCase()
      return upper === 'HTTP/1' || upper === 'HTTP/2' ? `${upper}.0` : upper
    },
  }
}
