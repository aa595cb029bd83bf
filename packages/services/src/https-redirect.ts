const KEEPS_METHOD = 307
const PERMANENT = 301

/**
 * Where a request to a token with `https-redirect` is sent (spec §1.13): 301 for GET and HEAD (browsers remember it),
 * 307 for others, which must not become a GET.
 *
 * @param port of our own TLS listener, when it is not the usual one
 */
export function redirectToHttps(request: {
  readonly method: string
  /** Without port. */
  readonly host: string
  readonly path: string
  readonly query: string | null
  readonly port?: number | undefined
}): { readonly status: number; readonly location: string } {
  const { method, host, path, query, port } = request
  const authority = port === undefined || port === 443 ? host : `${host}:${port}`
  return {
    status: method === 'GET' || method === 'HEAD' ? PERMANENT : KEEPS_METHOD,
    location: `https://${authority}${path}${query === null ? '' : `?${query}`}`,
  }
}
