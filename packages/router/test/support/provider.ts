import { createHash } from 'node:crypto'
import type { AuthenticationSettings, IdentityProviderSettings } from '@waiter/router'
import { createServicesConfig, createSimpleEntitlements } from '@waiter/services'
import { TestIdentityProvider } from '@waiter/testkit'
import type { Test } from 'tap'
import { type StartedRouter, startTestRouter } from './started-router.ts'

export type OpenIdSettings = NonNullable<IdentityProviderSettings['openId']>

/** As the configuration has it when it says nothing else. */
export function providerSettings(
  provider: TestIdentityProvider,
  changes: Partial<Omit<IdentityProviderSettings, 'openId'>> & { readonly openId?: Partial<OpenIdSettings> } = {},
): IdentityProviderSettings {
  const { openId, ...others } = changes
  return {
    keysUrl: `${provider.url}/keys`,
    updateIntervalMs: 3_600_000,
    requestTimeoutMs: 5_000,
    issuers: [provider.issuer],
    issuerPatterns: [],
    algorithms: ['EdDSA', 'RS256', 'ES256'],
    tokenType: 'JWT',
    subjectKey: 'sub',
    subjectPattern: '[a-z]+@[a-z.]+',
    expiryMsMax: 86_400_000,
    clockSkewMs: 10_000,
    bearer: { isForApi: true, isForServices: true, isChallengeAlways: true },
    openId: openId && {
      authorizeUri: `${provider.url}/authorize?tenant=7`,
      tokenUri: `${provider.url}/token`,
      isForApi: true,
      isForServices: true,
      defaultMode: 'relaxed',
      clientId: undefined,
      clientSecret: undefined,
      challengesMax: 20,
      challengeMaxAgeSecs: 300,
      userAgentProducts: ['chrome', 'mozilla'],
      sameSite: 'lax',
      strictOffsetSecs: 15,
      ...openId,
    },
    ...others,
  }
}

export const ROOT_KEY = 'the-key-of-root'

export async function startProvider(t: Test): Promise<TestIdentityProvider> {
  const provider = await TestIdentityProvider.start()
  t.teardown(() => provider[Symbol.asyncDispose]())
  return provider
}

/** A router that believes the provider, behind a proxy that ends TLS; its tokens are root's, who has a key. */
export async function startWithProvider(
  t: Test,
  identityProvider: IdentityProviderSettings,
  options: {
    readonly kind?: 'jwt' | 'api-keys'
    readonly tokens?: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  } = {},
): Promise<StartedRouter> {
  const authentication: AuthenticationSettings = {
    authenticator:
      options.kind === 'jwt'
        ? { kind: 'jwt' }
        : {
            kind: 'api-keys',
            keys: [{ principal: 'root', sha256: createHash('sha256').update(ROOT_KEY).digest('hex') }],
          },
    identityProvider,
    secrets: ['a secret of this test'],
    clusterName: 'waiter',
    cookie: { maxAgeSecs: 86_400, sameSite: 'lax' },
  }
  const router = await startTestRouter(t, {
    authentication,
    services: createServicesConfig({ waiterHostnames: ['localhost', '127.0.0.1', 'waiter.example.com'] }),
    entitlements: createSimpleEntitlements(['root']),
    trustedProxies: ['127.0.0.1'],
  })
  for (const [token, changes] of Object.entries(options.tokens ?? {})) {
    const body = JSON.stringify({
      ...{ cmd: 'serve', cpus: 1, mem: 1, version: '1', 'run-as-user': 'root', 'permitted-user': '*' },
      ...changes,
    })
    const headers = { authorization: `Bearer ${ROOT_KEY}` }
    const posted = await router.call({ method: 'POST', path: `/token?token=${token}`, headers, body })
    if (posted.status !== 200) throw new Error(posted.text)
  }
  return router
}

/** What a proxy says that ends TLS. */
export const HTTPS = { 'x-forwarded-proto': 'https' }
