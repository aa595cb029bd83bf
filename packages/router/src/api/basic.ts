import type { Hono } from 'hono'
import { chooseFormat } from '../errors/error-response.ts'
import { schemeOf } from '../request/scheme.ts'
import type { ApiEnvironment, ApiParts } from './api-context.ts'
import { includesOf } from './api-context.ts'

/** `/`, `/status`, `/settings`, `/profiles` (spec §4.1). */
export function addBasicRoutes(app: Hono<ApiEnvironment>, { options }: ApiParts): void {
  const startedAt = new Date().toISOString()

  app.get('/', call => {
    const { exchange, context } = call.env
    const { head } = exchange
    const welcome = {
      cid: context.cid,
      host: head.authority,
      hostname: options.services.waiterHostnames[0],
      message: 'Welcome to Waiter',
      port: exchange.localPort,
      'support-info': options.supportInfo,
      timestamp: new Date().toISOString(),
    }
    const format = chooseFormat({ accept: head.get('accept'), contentType: head.get('content-type') })
    if (format === 'json') return call.json(welcome)
    const text = `Welcome to Waiter\n\n  Services  /apps\n  Tokens    /tokens\n  State     /state\n  Settings  /settings\n`
    if (format === 'text') return call.text(text)
    return call.html(
      '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Waiter</title></head><body><h1>Welcome to Waiter</h1>' +
        '<ul><li><a href="/apps">Services</a></li><li><a href="/tokens">Tokens</a></li><li><a href="/state">State</a></li>' +
        '<li><a href="/settings">Settings</a></li></ul></body></html>',
    )
  })

  app.get('/status', call => {
    const { exchange, context } = call.env
    const { head } = exchange
    const include = includesOf(call)
    const protocol = `HTTP/${head.httpVersion}`
    const headers: Record<string, string> = {}
    head.forEach((name, value) => {
      // A credential must not come back in a page that anybody may embed.
      if (!/^(?:authorization|cookie)$/i.test(name)) headers[name.toLowerCase()] = value
    })
    const warnings = options.warnings()
    return call.json({
      status: 'ok',
      ...(warnings.length === 0 ? {} : { warnings }),
      ...(include.has('request-info')
        ? {
            'request-info': {
              'client-protocol': protocol,
              headers,
              'internal-protocol': protocol,
              'query-string': head.query,
              'remote-addr': exchange.remoteAddress,
              'request-id': `${context.cid}-${schemeOf(exchange)}`,
              'request-method': head.method.toLowerCase(),
              'request-time': new Date().toISOString(),
              'router-id': options.routerId,
              scheme: schemeOf(exchange),
              uri: head.path,
            },
          }
        : {}),
      ...(include.has('server-info') ? { 'server-info': { version: options.version } } : {}),
    })
  })

  app.get('/settings', call =>
    call.json({ ...options.settings, 'git-version': options.version, 'started-at': startedAt }),
  )

  app.get('/profiles', call =>
    call.json(Object.entries(options.services.profiles).map(([name, { defaults }]) => ({ name, defaults }))),
  )
}
