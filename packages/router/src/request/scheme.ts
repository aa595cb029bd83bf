import type { Exchange } from '@waiter/proxy'

/** What the client's connection to this router is; not what a proxy in front of it says. */
export function schemeOf(exchange: Pick<Exchange, 'isSecure'>): 'http' | 'https' {
  return exchange.isSecure ? 'https' : 'http'
}
