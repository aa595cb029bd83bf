import type { Exchange } from '@waiter/proxy'
import type { WaiterHeaders } from '@waiter/services'
import type { RequestError } from '../errors/error-response.ts'
import type { Identity } from './identity.ts'

/** What became of asking who a request comes from. */
export type Authentication =
  | {
      readonly kind: 'known'
      readonly identity: Identity
      /** Epoch milliseconds; infinite when the proof comes with every request. */
      readonly expiresAtMs: number
    }
  | { readonly kind: 'refused'; readonly error: RequestError }

/** A way to tell users apart (spec §7.3): the port that Kerberos, OIDC and the like would implement. */
export interface Authenticator {
  /** When everybody is the same user, that one: nobody needs to consent then, and a cookie tells nothing. */
  readonly onlyPrincipal: string | null
  /** Request headers that carry the proof: they never reach a backend. */
  readonly privateHeaders: readonly string[]
  /**
   * Looks at the head only, and answers at once whenever it can: on the hot path it may cost no more than a map look-up.
   */
  authenticate(exchange: Exchange, headers: WaiterHeaders | undefined): Authentication | Promise<Authentication>
}

/** 401, with how to prove oneself. */
export function unauthorized(challenge: string | undefined): Authentication {
  return {
    kind: 'refused',
    error: {
      status: 401,
      message: 'Unauthorized',
      ...(challenge === undefined ? {} : { headers: [['www-authenticate', challenge]] }),
    },
  }
}
