import type { IdentityProviderSettings } from '@waiter/router'
import type { IdentityProviderConfig } from './identity-provider-schema.ts'

const MS_PER_S = 1_000
const ALGORITHMS = { eddsa: 'EdDSA', es256: 'ES256', rs256: 'RS256' } as const

/** The identity provider, for the router. */
export function toIdentityProvider(config: IdentityProviderConfig): IdentityProviderSettings {
  return {
    keysUrl: config['jwks-url'],
    updateIntervalMs: config['update-interval-ms'],
    requestTimeoutMs: config['http-options']['timeout-ms'],
    issuers: typeof config.issuer === 'string' ? [config.issuer] : config.issuer,
    issuerPatterns: config['issuer-patterns'],
    algorithms: config['supported-algorithms'].map(name => ALGORITHMS[name]),
    tokenType: config['token-type'],
    subjectKey: config['subject-key'],
    subjectPattern: config['subject-regex'],
    expiryMsMax: config['max-expiry-duration-ms'],
    clockSkewMs: config['clock-skew-secs'] * MS_PER_S,
    bearer: {
      isForApi: config['allow-bearer-auth-api?'],
      isForServices: config['allow-bearer-auth-services?'],
      isChallengeAlways: config['attach-www-authenticate-on-missing-bearer-token?'],
    },
    openId: toOpenId(config),
  }
}

function toOpenId(config: IdentityProviderConfig): IdentityProviderSettings['openId'] {
  const [authorizeUri, tokenUri] = [config['oidc-authorize-uri'], config['oidc-token-uri']]
  if (authorizeUri === undefined || tokenUri === undefined) return undefined
  return {
    authorizeUri,
    tokenUri,
    isForApi: config['allow-oidc-auth-api?'],
    isForServices: config['allow-oidc-auth-services?'],
    defaultMode: config['oidc-default-mode'],
    clientId: config['oidc-client-id'],
    clientSecret: config['oidc-client-secret'],
    challengesMax: config['oidc-num-challenge-cookies-allowed-in-request'],
    challengeMaxAgeSecs: config['oidc-challenge-max-age-secs'],
    userAgentProducts: config['oidc-redirect-user-agent-products'].map(product => product.toLowerCase()),
    sameSite: config['oidc-same-site-attribute'],
    strictOffsetSecs: config['oidc-strict-mode-cookie-age-offset-secs'],
  }
}
