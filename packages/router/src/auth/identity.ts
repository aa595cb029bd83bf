import { userOf } from '@waiter/services'
import { toHeaderValue } from '../request/debug-headers.ts'

/** How somebody proved who he is (spec §7.1). */
export type AuthenticationMethod = 'cookie' | 'single-user' | 'api-key' | 'trusted-header'

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

export type IdentityFactory = (principal: string, method: AuthenticationMethod) => Identity

/** @param renderHeader of the proxy engine: the lines go to the wire as they are */
export function createIdentityFactory(renderHeader: (name: string, value: string) => string): IdentityFactory {
  return (principal, method) => {
    const user = userOf(principal)
    return {
      principal,
      user,
      method,
      requestLines:
        renderHeader('x-waiter-auth-principal', toHeaderValue(user)) +
        renderHeader('x-waiter-authenticated-principal', toHeaderValue(principal)),
    }
  }
}
