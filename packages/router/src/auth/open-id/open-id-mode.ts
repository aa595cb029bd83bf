import type { Discovery } from '@waiter/services'

/** How long a login lasts: as other cookies, or as long as the provider's token. */
export type OpenIdMode = 'relaxed' | 'strict'

export interface OpenIdPolicy {
  readonly isForApi: boolean
  readonly isForServices: boolean
  readonly defaultMode: OpenIdMode
}

/**
 * Do people log in by OpenID Connect here (spec §7.5)? A token's `env.USE_OIDC_AUTH` decides for its service, else the
 * configuration.
 *
 * @param target whose service is asked for; undefined: Waiter's API
 */
export function openIdModeOf(target: Discovery | undefined, policy: OpenIdPolicy): OpenIdMode | undefined {
  if (target === undefined) return policy.isForApi ? policy.defaultMode : undefined
  const wish = target.template.env?.['USE_OIDC_AUTH']
  if (wish === undefined) return policy.isForServices ? policy.defaultMode : undefined
  if (wish === 'true' || wish === 'relaxed') return 'relaxed'
  return wish === 'strict' ? 'strict' : undefined
}

/** What a request says of its sender. */
export interface ClientSigns {
  readonly userAgent: string | undefined
  readonly acceptRedirect: string | undefined
  readonly acceptRedirectAuth: string | undefined
  /** `sec-fetch-mode` of a browser. */
  readonly fetchMode: string | undefined
}

export interface RedirectPolicy {
  /** Lower-case product names of browsers. */
  readonly userAgentProducts: readonly string[]
  /** Host (and port) of the identity provider's login page. */
  readonly authority: string
}

const PRODUCTS_MAX = 32

/**
 * Would this client show its user a login page? Programs would take the page for the answer: they get 401, unless they
 * say that they follow such redirects (to any, or to named hosts). A script of a page cannot show it either.
 */
export function isRedirectCapable(signs: ClientSigns, policy: RedirectPolicy): boolean {
  if (signs.acceptRedirect?.trim().toLowerCase() === 'yes') {
    const hosts = (signs.acceptRedirectAuth ?? '').split(/[\s,]+/).filter(host => host !== '')
    if (hosts.length === 0 || hosts.includes('.') || hosts.includes(policy.authority)) return true
  }
  if (signs.fetchMode !== undefined && signs.fetchMode !== 'navigate') return false
  const products = (signs.userAgent ?? '').split(' ', PRODUCTS_MAX)
  return products.some(product => policy.userAgentProducts.includes(product.replace(/\/.*$/s, '').toLowerCase()))
}
