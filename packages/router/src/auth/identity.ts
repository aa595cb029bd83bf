import { userOf } from '@waiter/services'
import { toHeaderValue } from '../request/debug-headers.ts'

/** How somebody proved who he is (spec §7.1). */
export type AuthenticationMethod = 'cookie' | 'single-user' | 'api-key' | 'trusted-header' | 'jwt'

/** Who a request comes from. One object serves all requests of the same proof. */
export interface Identity {
  /** The whole name, `alice@EXAMPLE.COM`. */
  readonly principal: string
  /** What descriptions and tokens call him: the part before `@` or `/`. */
  readonly user: string
  readonly method: AuthenticationMethod
  /** Lines that tell a backend who it is (spec §1.5). */
  readonly requestLines: string
}

/** @param webToken which the user proved himself with, now or at his login: backends get it, too */
export type IdentityFactory = (
  principal: string,
  method: AuthenticationMethod,
  webToken?: string | undefined,
) => Identity

/** @param renderHeader of the proxy engine: the lines go to the wire as they are */
export function createIdentityFactory(renderHeader: (name: string, value: string) => string): IdentityFactory {
  return (principal, method, webToken) => {
    const user = userOf(principal)
    return {
      principal,
      user,
      method,
      requestLines:
        renderHeader('x-waiter-auth-principal', toHeaderValue(user)) +
        renderHeader('x-waiter-authenticated-principal', toHeaderValue(principal)) +
        (webToken === undefined ? '' : renderWebToken(webToken, renderHeader)),
    }
  }
}

/** The token, and what it says. It has been verified; this only reads it. */
function renderWebToken(token: string, renderHeader: (name: string, value: string) => string): string {
  const [, part = ''] = token.split('.')
  const claims = JSON.stringify(JSON.parse(Buffer.from(part, 'base64url').toString()))
  const payload = claims.replaceAll(/[^\x20-\x7e]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return renderHeader('x-waiter-jwt', token) + renderHeader('x-waiter-jwt-payload', payload)
}
