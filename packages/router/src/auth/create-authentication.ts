import type { Logger } from '@waiter/base'
import type { ClientFacts } from '../request/client-facts.ts'
import { createAddressTest } from './address-list.ts'
import { type ApiKey, createApiKeys } from './api-keys.ts'
import { AuthCookies, COOKIE_CHARS_MAX, type SameSite } from './auth-cookies.ts'
import type { Authenticator } from './authenticator.ts'
import { createIdentityFactory, type IdentityFactory } from './identity.ts'
import { IdentityProvider, type IdentityProviderSettings } from './identity-provider.ts'
import { NOBODY } from './nobody.ts'
import { createOneUser } from './one-user.ts'
import { RequestAuthentication } from './request-authentication.ts'
import { createSealedBox } from './sealed-box.ts'
import { createTrustedHeader } from './trusted-header.ts'

/** How users are told apart, as configured. */
export type AuthenticatorSpec =
  | { readonly kind: 'one-user'; readonly principal: string }
  | { readonly kind: 'api-keys'; readonly keys: readonly ApiKey[] }
  | { readonly kind: 'trusted-header'; readonly header: string; readonly addresses: readonly string[] }
  /** By the identity provider alone. */
  | { readonly kind: 'jwt' }

export interface AuthenticationSettings {
  readonly authenticator: AuthenticatorSpec
  /** Whose web tokens are believed beside; not with one user. */
  readonly identityProvider?: IdentityProviderSettings | undefined
  /** The first seals cookies, all open them. */
  readonly secrets: readonly string[]
  readonly clusterName: string
  readonly cookie: { readonly maxAgeSecs: number; readonly sameSite: SameSite }
}

export interface AuthenticationParts {
  readonly renderHeader: (name: string, value: string) => string
  readonly clientFacts: Pick<ClientFacts, 'isHttps' | 'httpsPort'>
  readonly isWaiterHost: (host: string) => boolean
  readonly log: Logger
}

export function createAuthentication(
  settings: AuthenticationSettings,
  parts: AuthenticationParts,
): RequestAuthentication {
  const { secrets, clusterName, authenticator, identityProvider } = settings
  const createIdentity = createIdentityFactory(parts.renderHeader)
  const box = createSealedBox({ secrets, clusterName, purpose: 'auth cookie', charsMax: COOKIE_CHARS_MAX })
  const cookies = new AuthCookies({ ...settings.cookie, box, createIdentity, nowMs: Date.now })
  const isOnlyWay = authenticator.kind === 'jwt'
  const provider =
    identityProvider &&
    new IdentityProvider(identityProvider, { ...parts, secrets, clusterName, isOnlyWay, cookies, createIdentity })
  return new RequestAuthentication(cookies, createAuthenticator(authenticator, createIdentity), provider)
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
    case 'jwt':
      return NOBODY
  }
}
