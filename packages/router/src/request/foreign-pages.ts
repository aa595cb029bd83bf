import type { Exchange } from '@waiter/proxy'
import { isCacheableSelection, type WaiterHeaders } from '@waiter/services'
import type { RequestError } from '../errors/error-response.ts'

/** A browser sent the request from a page that is not Waiter's. */
export const FOREIGN_ORIGIN: RequestError = {
  status: 403,
  message: 'Cross-origin request not allowed',
  errorClass: 'waiter.CorsRequestForbidden',
}

/** Something that a foreign page must not do came on a host name that is neither Waiter's nor a token. */
export const FOREIGN_HOST: RequestError = {
  status: 403,
  message:
    "This is answered on Waiter's own host names only (descriptions in x-waiter- headers, tokens by name): add the name to `hostname` in Waiter's configuration, or use an address",
  errorClass: 'waiter.CorsRequestForbidden',
}

/** Values of `sec-fetch-site` that only a browser on somebody else's page sends. */
const FOREIGN_SITES: ReadonlySet<string> = new Set(['cross-site', 'same-site'])
/** IPv4 and IPv6 as hosts: no name that somebody could let point here. */
const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])$/i
/** Names of the machine itself: pages of any program on it, told apart only by their ports. */
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i

export interface ForeignPagesOptions {
  readonly isWaiterHost: (host: string) => boolean
  readonly isToken: (name: string) => boolean
  readonly unsupportedHeaders: readonly string[]
}

/**
 * A web page of another origin must not start commands here, nor read what only Waiter's users may. A page whose own
 * name its owner let point to this machine (DNS rebinding) is of another origin, too, though its browser does not know.
 */
export class ForeignPages {
  readonly #options: ForeignPagesOptions

  constructor(options: ForeignPagesOptions) {
    this.#options = options
  }

  /** Is it a page of Waiter itself? */
  isOwnOrigin(origin: string, authority: string): boolean {
    return isOwnOrigin(origin, authority, this.#options.isWaiterHost)
  }

  /** Does a browser tell that a foreign page sent it, though there is no `origin`? */
  isForeignSite({ head }: Exchange): boolean {
    return FOREIGN_SITES.has(head.get('sec-fetch-site') ?? '')
  }

  /** Do the headers describe a service, or say something else that names more than a token? */
  describes(headers: WaiterHeaders): boolean {
    return !isCacheableSelection(headers, this.#options.unsupportedHeaders)
  }

  /**
   * Descriptions in headers are taken on Waiter's own names, on addresses and on tokens only: a page that was made to
   * point here sends no `origin` with a GET, but its name as `host`.
   */
  mayDescribe(exchange: Exchange, headers: WaiterHeaders): boolean {
    return !this.describes(headers) || !this.isForeignHost(exchange)
  }

  /**
   * A page whose name was made to point here could read tokens as if it were ours: whoever names one that is not the
   * host itself must have come by one of Waiter's own names, by an address, or by a token.
   */
  isForeignHost({ head }: Exchange): boolean {
    const { host } = head
    if (host === '' || ADDRESS.test(host) || this.#options.isWaiterHost(host)) return false
    return !this.#options.isToken(head.authority.replace(/:\d*$/, '')) && !this.#options.isToken(host)
  }
}

/**
 * Does a browser's `origin` belong to Waiter itself?
 *
 * @param authority what the request itself was sent to; a page of this machine must be of exactly that host and port
 */
export function isOwnOrigin(origin: string, authority: string, isWaiterHost: (host: string) => boolean): boolean {
  const [, originAuthority, host] = /^https?:\/\/((\[[0-9a-f:.]+\]|[^/:]+)(?::\d+)?)$/i.exec(origin) ?? []
  if (originAuthority === undefined || host === undefined || !isWaiterHost(host.toLowerCase())) return false
  return !LOOPBACK.test(host) || originAuthority.toLowerCase() === authority.toLowerCase()
}
