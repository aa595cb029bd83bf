import { z } from 'zod'
import { descriptionSchema } from '../schemas/service.ts'
import type { EndpointSpec } from './endpoint.ts'
import { flag, include, integer, text } from './query.ts'

const TAG = 'tokens'
const LOGIN = 'authentication'
const PAGES = 'pages'
const tokenName = text('The token; else the header `x-waiter-token`, else the host.')
const done = z.strictObject({ success: z.boolean() })
const tokenSchema = z.looseObject({ owner: z.string() })
const openIdSchema = z.strictObject({ 'client-id': z.string(), enabled: z.boolean(), token: z.string().optional() })
const entrySchema = z.looseObject({ token: z.string(), owner: z.string(), maintenance: z.boolean() })

/** Endpoints whose requests are checked by rules of their own: tokens (spec §3), and who is asking. */
export const OTHER_ENDPOINTS: readonly EndpointSpec[] = [
  {
    method: 'get',
    path: '/token',
    summary: 'A token',
    tag: TAG,
    access: 'user',
    query: { token: tokenName, include: include('include', ['metadata', 'deleted']) },
    answers: { 200: { description: 'Its service parameters and metadata; `etag` is its version.', json: tokenSchema } },
  },
  {
    method: 'post',
    path: '/token',
    summary: 'Create or update a token',
    tag: TAG,
    access: 'user',
    query: { token: tokenName, 'update-mode': text('`admin` copies a token as it is.') },
    body: z.looseObject({}),
    answers: {
      200: {
        description: 'What became of it; see the header `x-waiter-operation-result`.',
        json: z.strictObject({ message: z.string(), 'service-description': descriptionSchema }),
      },
    },
  },
  {
    method: 'delete',
    path: '/token',
    summary: 'Delete a token',
    tag: TAG,
    access: 'user',
    query: { token: tokenName, 'hard-delete': flag('Forget it with its history; needs `if-match`.') },
    answers: {
      200: {
        description: 'It is deleted.',
        json: z.strictObject({ delete: z.string(), 'hard-delete': z.boolean(), success: z.boolean() }),
      },
    },
  },
  {
    method: 'get',
    path: '/tokens',
    summary: 'All tokens that a query selects, or with `watch=true` a stream of them',
    tag: TAG,
    access: 'user',
    query: {
      include: include('include', ['metadata', 'deleted', 'cluster', 'service-id']),
      watch: flag('Stream changes.'),
      owner: text('Of this owner.'),
      'can-manage-as-user': text('That this user may change.'),
      'streaming-timeout': integer('streaming-timeout', 'Milliseconds without news after which a watch ends.'),
    },
    otherQuery: 'Any token parameter filters by equal text or a pattern that matches all of it.',
    answers: { 200: { description: 'The tokens.', json: z.array(entrySchema) } },
  },
  {
    method: 'get',
    path: '/tokens/owners',
    summary: 'Owners of tokens',
    tag: TAG,
    access: 'user',
    answers: { 200: { description: 'Keys by owner.', json: z.record(z.string(), z.string()) } },
  },
  {
    method: 'post',
    path: '/tokens/refresh',
    summary: 'Have this router read a token anew',
    tag: TAG,
    access: 'administrator',
    body: z.looseObject({}),
    answers: { 200: { description: 'Done.', json: done } },
  },
  {
    method: 'post',
    path: '/tokens/reindex',
    summary: 'Have this router read all tokens anew',
    tag: TAG,
    access: 'user',
    answers: {
      200: { description: 'Done.', json: z.strictObject({ message: z.string(), tokens: z.int() }) },
    },
  },
  {
    method: 'get',
    path: '/token-history',
    summary: 'Former versions of a token',
    tag: TAG,
    access: 'user',
    query: { token: text('The token; required.'), length: integer('length', 'Versions at most.') },
    answers: { 200: { description: 'The newest first.', json: z.array(z.looseObject({})) } },
  },
  {
    method: 'post',
    path: '/reference/notify',
    summary: 'Tell watchers that a reference changed',
    tag: TAG,
    access: 'administrator',
    body: z.looseObject({}),
    answers: { 200: { description: 'Done.', json: done } },
  },
  {
    method: 'get',
    path: '/waiter-auth',
    summary: 'Who am I? Also gives browsers their cookie',
    tag: LOGIN,
    access: 'user',
    answers: { 200: { description: 'The user name.', media: ['text/plain'] } },
  },
  {
    method: 'get',
    path: '/.well-known/auth/expires-at',
    summary: 'When the cookie expires',
    tag: LOGIN,
    access: 'public',
    answers: {
      200: {
        description: 'In seconds since the epoch; 0: there is none.',
        json: z.strictObject({ 'expires-at': z.int(), principal: z.string().nullable() }),
      },
    },
  },
  {
    method: 'get',
    path: '/.well-known/auth/keep-alive',
    summary: 'Renew the cookie if it expires soon',
    tag: LOGIN,
    access: 'public',
    query: {
      offset: text('Seconds that it must last.'),
      done: text('`true`: after a login in between.'),
    },
    answers: { 204: { description: 'It lasts.' } },
  },
  {
    method: 'get',
    path: '/.well-known/oidc/v1/openid-enabled',
    summary: 'Does the token log people in by OpenID Connect?',
    tag: LOGIN,
    access: 'public',
    answers: {
      200: { description: 'It does.', json: openIdSchema },
      404: { description: 'It does not.', json: openIdSchema },
      501: { description: 'OpenID Connect is not configured.', json: openIdSchema },
    },
  },
  {
    method: 'get',
    path: '/oidc/v1/callback',
    summary: 'Where an OpenID provider sends people back',
    tag: LOGIN,
    access: 'public',
    query: {
      code: text('What the provider gives a token for.'),
      state: text('Which login it is; sealed.'),
      error: text('Why the provider lets nobody in.'),
    },
    answers: { 302: { description: 'Logged in: the way back to where the user wanted to go.' } },
  },
  {
    method: 'get',
    path: '/waiter-consent/:path',
    summary: 'Ask a user whether a token’s service may run as himself',
    description: 'The path may have several parts; it is where the user goes on.',
    tag: LOGIN,
    access: 'user',
    answers: { 200: { description: 'A page.', media: ['text/html'] } },
  },
  {
    method: 'post',
    path: '/waiter-consent',
    summary: 'The user agrees',
    description: 'A form with `mode` (`token` or `service`) and `service-id`, sent by the page of the same host.',
    tag: LOGIN,
    access: 'user',
    answers: { 200: { description: 'His cookie is set.', media: ['text/plain'] } },
  },
  {
    method: 'get',
    path: '/waiter-consent-cookie',
    summary: 'What the user agreed to',
    tag: LOGIN,
    access: 'user',
    answers: {
      200: {
        description: 'The content of his cookie.',
        json: z.strictObject({
          'x-waiter-consent': z
            .strictObject({
              'raw-content': z.array(z.unknown()),
              'formatted-content': z.looseObject({ mode: z.string(), 'issue-time': z.string() }),
            })
            .nullable(),
        }),
      },
    },
  },
  {
    method: 'get',
    path: '/waiter-interstitial/:path',
    summary: 'Show a page while a service starts',
    description: 'The path may have several parts; it is where the page goes on.',
    tag: LOGIN,
    access: 'user',
    answers: { 200: { description: 'A page.', media: ['text/html'] } },
  },
  {
    method: 'get',
    path: '/waiter-interstitial/*',
    summary: 'The page that waits for a service to start, then goes to the path behind',
    tag: PAGES,
    access: 'user',
    answers: { 200: { description: 'The page.', media: ['text/html'] } },
  },
  {
    method: 'get',
    path: '/waiter-consent/*',
    summary: 'Asks whether the service of this host may run as you',
    tag: PAGES,
    access: 'user',
    answers: { 200: { description: 'The page.', media: ['text/html'] } },
  },
  {
    method: 'post',
    path: '/waiter-consent',
    summary: 'What that page sends: a form with `mode` and `service-id`',
    tag: PAGES,
    access: 'user',
    answers: { 200: { description: 'The answer brings the cookie.', media: ['text/plain'] } },
  },
  {
    method: 'get',
    path: '/waiter-consent-cookie',
    summary: 'What you agreed to',
    tag: PAGES,
    access: 'user',
    answers: {
      200: {
        description: 'Null: nothing.',
        json: z.strictObject({
          'x-waiter-consent': z
            .strictObject({ 'raw-content': z.unknown(), 'formatted-content': z.looseObject({ mode: z.string() }) })
            .nullable(),
        }),
      },
    },
  },
]
