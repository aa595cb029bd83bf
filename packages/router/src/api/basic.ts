import { z } from 'zod'
import { chooseFormat } from '../errors/error-response.ts'
import { supportLinksFor } from '../errors/support-info.ts'
import { schemeOf } from '../request/scheme.ts'
import { type ApiParts, answer } from './api-context.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { include } from './contract/query.ts'

const supportInfoSchema = z.array(
  z.strictObject({ label: z.string(), link: z.strictObject({ type: z.string(), value: z.string() }) }),
)

const welcomeSchema = z.strictObject({
  cid: z.string(),
  host: z.string(),
  hostname: z.string(),
  message: z.string(),
  port: z.int(),
  'support-info': supportInfoSchema,
  timestamp: z.string(),
})

const statusSchema = z.strictObject({
  status: z.literal('ok'),
  'request-info': z
    .looseObject({
      'client-protocol': z.string(),
      headers: z.record(z.string(), z.string()),
      'internal-protocol': z.string(),
      'query-string': z.string().nullable(),
      'remote-addr': z.string(),
      'request-id': z.string(),
      'request-method': z.string(),
      'request-time': z.string(),
      'router-id': z.string(),
      scheme: z.string(),
      uri: z.string(),
    })
    .optional(),
  'server-info': z.strictObject({ version: z.string() }).optional(),
  warnings: z.array(z.string()).optional(),
})

/** `/`, `/status`, `/settings`, `/profiles` (spec §4.1). */
export function addBasicRoutes(endpoints: Endpoints, parts: ApiParts): void {
  addWelcome(endpoints, parts)
  addStatus(endpoints, parts)
  const { options } = parts
  const startedAt = new Date().toISOString()

  endpoints.add(
    {
      method: 'get',
      path: '/settings',
      summary: 'The configuration in force',
      description: 'With defaults; secrets are hidden.',
      tag: 'operations',
      access: 'user',
      answers: {
        200: {
          description: 'The configuration.',
          json: z.looseObject({ 'git-version': z.string(), 'started-at': z.string() }),
        },
      },
    },
    ({ call }) =>
      call.json({
        ...options.settings,
        'git-version': options.version,
        'started-at': startedAt,
      }),
  )

  endpoints.add(
    {
      method: 'get',
      path: '/profiles',
      summary: 'Named sets of defaults for service descriptions',
      tag: 'services',
      access: 'user',
      answers: {
        200: {
          description: 'The profiles.',
          json: z.array(z.strictObject({ name: z.string(), defaults: z.looseObject({}) })),
        },
      },
    },
    ({ call }) =>
      call.json(Object.entries(options.services.profiles).map(([name, { defaults }]) => ({ name, defaults }))),
  )
}

function addWelcome(endpoints: Endpoints, { options }: ApiParts): void {
  endpoints.add(
    {
      method: 'get',
      path: '/',
      summary: 'Welcome',
      tag: 'pages',
      access: 'public',
      answers: {
        200: { description: 'A greeting, by `accept`.', json: welcomeSchema, media: ['text/html', 'text/plain'] },
      },
    },
    ({ call }) => {
      const { exchange, context } = call.env
      const { head } = exchange
      const format = chooseFormat({ accept: head.get('accept'), contentType: head.get('content-type') })
      if (format === 'text') return call.text(WELCOME_TEXT)
      if (format === 'html') return call.html(WELCOME_HTML)
      return call.json({
        cid: context.cid,
        host: head.authority,
        hostname: options.services.waiterHostnames[0],
        message: 'Welcome to Waiter',
        port: exchange.localPort,
        'support-info': supportLinksFor(options.supportInfo, undefined, { cid: context.cid, host: head.authority }),
        timestamp: new Date().toISOString(),
      })
    },
  )
}

function addStatus(endpoints: Endpoints, { options, drain, pipeline }: ApiParts): void {
  endpoints.add(
    {
      method: 'get',
      path: '/status',
      summary: 'Does this router want requests?',
      tag: 'operations',
      access: 'public',
      query: { include: include('include', ['request-info', 'server-info']) },
      answers: {
        200: { description: 'It does.', json: statusSchema },
        503: { description: 'It is draining.', json: z.strictObject({ message: z.string() }) },
      },
    },
    ({ call, query }) => {
      if (drain.since !== undefined) return answer(call, 503, { message: 'Router is in drain mode.' })
      const { exchange, context } = call.env
      const { head } = exchange
      const { clientFacts } = pipeline()
      const headers: Record<string, string> = {}
      head.forEach((name, value) => {
        // A credential must not come back in a page that anybody may embed.
        if (!/^(?:authorization|proxy-authorization|cookie)$/i.test(name)) headers[name.toLowerCase()] = value
      })
      const requestInfo = {
        'client-protocol': clientFacts.protocolOf(exchange),
        headers,
        'internal-protocol': `HTTP/${head.httpVersion}`,
        'query-string': head.query,
        'remote-addr': exchange.remoteAddress,
        'request-id': `${context.cid}-${schemeOf(exchange)}`,
        'request-method': head.method.toLowerCase(),
        'request-time': new Date().toISOString(),
        'router-id': options.routerId,
        scheme: clientFacts.isHttps(exchange) ? 'https' : 'http',
        uri: head.path,
      }
      const warnings = options.warnings()
      return call.json({
        status: 'ok',
        ...(warnings.length === 0 ? {} : { warnings }),
        ...(query.include.has('request-info') ? { 'request-info': requestInfo } : {}),
        ...(query.include.has('server-info') ? { 'server-info': { version: options.version } } : {}),
      })
    },
  )
}

const WELCOME_TEXT = `Welcome to Waiter

  Services  /apps
  Tokens    /tokens
  State     /state
  Metrics   /metrics
  Settings  /settings
  This API  /openapi.json
`

const WELCOME_HTML =
  '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Waiter</title><link rel="icon" href="/favicon.ico"></head>' +
  '<body><h1>Welcome to Waiter</h1><ul>' +
  [
    ['/apps', 'Services'],
    ['/tokens', 'Tokens'],
    ['/state', 'State'],
    ['/metrics', 'Metrics'],
    ['/settings', 'Settings'],
    ['/openapi.json', 'This API'],
  ]
    .map(([path, label]) => `<li><a href="${path}">${label}</a></li>`)
    .join('') +
  '</ul></body></html>'
