import { createAddressTest } from './address-list.ts'
import { type ApiKey, createApiKeys } from './api-keys.ts'
import { AuthCookies, COOKIE_CHARS_MAX } from './auth-cookies.ts'
import type { Authenticator } from './authenticator.ts'
import { createIdentityFactory, type IdentityFactory } from './identity.ts'
import { createOneUser } from './one-user.ts'
import { RequestAuthentication } from './request-authentication.ts'
import { createSealedBox } from './sealed-box.ts'
import { createTrustedHeader } from './trusted-header.ts'

/** How users are told apart, as configured. */
export type AuthenticatorSpec =
  | { readonly kind: 'one-user'; readonly principal: string }
  | { readonly kind: 'api-keys'; readonly keys: readonly ApiKey[] }
  | { readonly kind: 'trusted-header'; readonly header: string; readonly addresses: readonly string[] }

export interface AuthenticationSettings {
  readonly authenticator: AuthenticatorSpec
  /** The first seals cookies, all open them. */
  readonly secrets: readonly string[]
  readonly clusterName: string
  readonly cookie: { readonly maxAgeSecs: number; readonly sameSite: 'lax' | 'strict' | 'none' }
}

export function createAuthentication(
  settings: AuthenticationSettings,
  renderHeader: (name: string, value: string) => string,
): RequestAuthentication {
  const { secrets, clusterName } = settings
  const createIdentity = createIdentityFactory(renderHeader)
  const box = createSealedBox({ secrets, clusterName, purpose: 'auth cookie', charsMax: COOKIE_CHARS_MAX })
  const cookies = new AuthCookies({ ...settings.cookie, box, createIdentity, nowMs: Date.now })
  return new RequestAuthentication(cookies, createAuthenticator(settings.authenticator, createIdentity))
}

function createAuthenticator(spec: AuthenticatorSpec, createIdentity: IdentityFactory): Authenticator {
  switch (spec.kind) {
    case 'one-user':
      return createOneUser(spec.principal, createIdentity)
    case 'api-keys':
      return createApiKeys(spec.keys, createIdentity)
    case 'trusted-header':
      return createTrustedHeader(
        { header: spec.header.toLowerCase(), isTrustedAddress: createAddressTest(spec.addresses) },
        createIdentity,
      )
  }
}
