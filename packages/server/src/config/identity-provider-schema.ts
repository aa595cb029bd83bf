import { findEndpointProblem } from '@waiter/router/settings'
import { z } from 'zod'

const MS_PER_DAY = 86_400_000

const endpoint = z
  .string()
  .max(2_048)
  .superRefine((text, context) => {
    const message = findEndpointProblem(text)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  })
const flag = (fallback: boolean, meaning: string) => z.boolean().default(fallback).describe(meaning)
const positive = (fallback: number, meaning: string) => z.int().min(1).default(fallback).describe(meaning)
const patterns = z.array(z.string().min(1).max(1_024)).max(64)

/** One identity provider: whose web tokens are believed, and where people log in (spec §7.4, §7.5). */
export const identityProvider = z
  .strictObject({
    'jwks-url': endpoint.describe('Where its public keys are.'),
    'update-interval-ms': z
      .int()
      .min(1_000)
      .default(60_000)
      .describe('How often they are fetched; a key that is not known is asked for sooner.'),
    'http-options': z
      .strictObject({ 'timeout-ms': positive(5_000, 'Longest wait for its answer.') })
      .prefault({})
      .describe('How it is asked.'),
    issuer: z
      .union([z.string().min(1).max(1_024), patterns])
      .default([])
      .describe('Who signs: `iss` of the tokens, one or several, as they are.'),
    'issuer-patterns': patterns.default([]).describe('Patterns that `iss` may match as a whole.'),
    'supported-algorithms': z
      .array(z.enum(['eddsa', 'es256', 'rs256']))
      .min(1)
      .default(['eddsa', 'rs256'])
      .describe('How they are signed.'),
    'token-type': z.string().min(1).max(64).default('JWT').describe('`typ` of their headers.'),
    'subject-key': z.string().min(1).max(64).default('sub').describe('The claim that names the user.'),
    'subject-regex': z
      .string()
      .min(1)
      .max(1_024)
      .default('[a-zA-Z0-9._-]+@[a-zA-Z0-9.-]+')
      .describe('The pattern that it must match as a whole.'),
    'max-expiry-duration-ms': positive(MS_PER_DAY, 'A token that is valid for longer from now on is refused.'),
    'clock-skew-secs': z.int().min(0).max(300).default(10).describe('By how much its clock may differ from ours.'),
    'allow-bearer-auth-api?': flag(true, 'Requests to the API may show a token as `authorization: Bearer`.'),
    'allow-bearer-auth-services?': flag(false, 'Requests to services, too.'),
    'attach-www-authenticate-on-missing-bearer-token?': flag(true, 'A 401 says so, also to those who showed none.'),
    'allow-oidc-auth-api?': flag(false, 'Browsers that ask the API are sent to the login page.'),
    'allow-oidc-auth-services?': flag(
      false,
      'Those that ask services, too. A token decides for its service with `env.USE_OIDC_AUTH`: `relaxed`, `strict` or `false`.',
    ),
    'oidc-authorize-uri': endpoint.optional().describe('Its login page. Absent: no logins by OpenID Connect.'),
    'oidc-token-uri': endpoint.optional().describe('Where it gives a token for the code of a login.'),
    'oidc-client-id': z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe('What it knows Waiter as. Default: every host is a client of its own name.'),
    'oidc-client-secret': z
      .string()
      .min(1)
      .max(1_024)
      .optional()
      .describe('If it gave one with that id.')
      .meta({ secret: true }),
    'oidc-default-mode': z
      .enum(['relaxed', 'strict'])
      .default('relaxed')
      .describe('A login lasts as `cookie.max-age-secs` says, or ends with the provider’s token.'),
    'oidc-strict-mode-cookie-age-offset-secs': z
      .int()
      .min(0)
      .max(3_600)
      .default(15)
      .describe('So long before that token.'),
    'oidc-challenge-max-age-secs': z.int().min(10).max(3_600).default(300).describe('How long a login may take.'),
    'oidc-num-challenge-cookies-allowed-in-request': z
      .int()
      .min(1)
      .max(100)
      .default(20)
      .describe('With more logins under way a browser is not sent to another.'),
    'oidc-redirect-user-agent-products': z
      .array(z.string().min(1).max(64))
      .max(64)
      .default(['chrome', 'mozilla'])
      .describe(
        'Clients that show a login page, by their `user-agent`; others get 401 unless they send `accept-redirect: yes`.',
      ),
    'oidc-same-site-attribute': z
      .enum(['lax', 'none'])
      .default('lax')
      .describe('`SameSite` of the cookies of a login; `none` for services in frames of other sites.'),
  })
  .superRefine((provider, context) => {
    const report = (key: string, message: string) => context.addIssue({ code: 'custom', path: [key], message })
    if (provider.issuer.length === 0 && provider['issuer-patterns'].length === 0)
      report('issuer', 'without `issuer` or `issuer-patterns` no token is believed')
    const [authorize, token] = [provider['oidc-authorize-uri'], provider['oidc-token-uri']]
    if ((authorize === undefined) !== (token === undefined))
      report('oidc-authorize-uri', 'oidc-authorize-uri and oidc-token-uri go together')
    if (authorize === undefined && (provider['allow-oidc-auth-api?'] || provider['allow-oidc-auth-services?']))
      report('oidc-authorize-uri', 'logins by OpenID Connect need oidc-authorize-uri and oidc-token-uri')
    if (provider['oidc-client-secret'] !== undefined && provider['oidc-client-id'] === undefined)
      report('oidc-client-secret', 'a secret goes with an oidc-client-id')
  })
  .describe('An identity provider: whose web tokens are believed, and where people log in. Absent: none.')

export type IdentityProviderConfig = z.infer<typeof identityProvider>
