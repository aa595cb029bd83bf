import { WaiterError } from '@waiter/base'
import { type ConsentGrant, type Descriptor, findConsentProblem, withBypass, writeConsent } from '@waiter/services'
import type { Hono } from 'hono'
import { CONSENT_COOKIE, CONSENT_PATH } from '../auth/consents.ts'
import type { Identity } from '../auth/identity.ts'
import { INTERSTITIAL_PATH } from '../request/interstitials.ts'
import { localPath, targetOf } from '../request/own-targets.ts'
import type { ApiCall, ApiEnvironment, ApiParts } from './api-context.ts'
import { renderConsent, renderInterstitial } from './pages.ts'

/** Two short fields. */
const FORM_BYTES_MAX = 16 * 1024

/** `/waiter-consent`, `/waiter-consent-cookie` and `/waiter-interstitial` (spec §1.10, §1.11). */
export function addConsentRoutes(app: Hono<ApiEnvironment>, parts: ApiParts): void {
  app.get(`${INTERSTITIAL_PATH}/*`, async call => {
    const { head } = call.env.exchange
    const query = withBypass(head.query, Date.now())
    const target = targetOf(localPath(head.path.slice(INTERSTITIAL_PATH.length)), query)
    const { html, headers } = renderInterstitial(target, head.host)
    return call.body(html, 200, headers)
  })

  app.get(`${CONSENT_PATH}/*`, async call => {
    const { head } = call.env.exchange
    if (head.path === CONSENT_PATH)
      throw new WaiterError('Invalid request method', { code: 'WTR_WRONG_METHOD', status: 405 })
    const identity = identityOf(call)
    const descriptor = await describe(call, parts, identity)
    const [found] = descriptor?.discovery.records ?? []
    if (descriptor === undefined || found === undefined) throw refused('Unable to load description for token')
    const { html, headers } = renderConsent({
      token: found.token,
      owner: found.record.owner,
      user: identity.user,
      cmd: descriptor.core.cmd ?? '',
      version: descriptor.core.version ?? '',
      serviceId: descriptor.serviceId,
      target: targetOf(localPath(head.path.slice(CONSENT_PATH.length)), head.query),
    })
    return call.body(html, 200, headers)
  })

  app.post(CONSENT_PATH, call => takeConsent(call, parts))

  app.get('/waiter-consent-cookie', call => {
    const grant = parts.pipeline().consents.read(call.env.exchange, identityOf(call))
    return call.json({ [CONSENT_COOKIE]: grant === undefined ? null : renderGrant(grant) })
  })
}

async function takeConsent(call: ApiCall, parts: ApiParts): Promise<Response> {
  const { exchange } = call.env
  const { head } = exchange
  const pipeline = parts.pipeline()
  const identity = identityOf(call)
  const form = await readForm(call)
  const descriptor = await describe(call, parts, identity)
  const isHttps = pipeline.clientFacts.isHttps(exchange)
  const problem = findConsentProblem({
    scheme: isHttps ? 'https' : 'http',
    authority: head.authority,
    origin: head.get('origin'),
    referer: head.get('referer'),
    requestedWith: head.get('x-requested-with'),
    mode: form.get('mode'),
    serviceId: form.get('service-id'),
    expectedServiceId: descriptor?.serviceId,
  })
  const [found] = descriptor?.discovery.records ?? []
  if (problem !== undefined) throw refused(problem)
  if (descriptor === undefined || found === undefined) throw refused('Unable to load description for token')
  const issuedAtMs = Date.now()
  const grant: ConsentGrant =
    form.get('mode') === 'token'
      ? { mode: 'token', issuedAtMs, token: found.token, owner: found.record.owner }
      : { mode: 'service', issuedAtMs, serviceId: descriptor.serviceId }
  const [name, value] = pipeline.consents.issue(grant, identity, isHttps)
  return call.text(`Added cookie ${CONSENT_COOKIE}`, 200, { [name]: value })
}

/** The service of the host's token, as it would run as the user. */
async function describe(call: ApiCall, parts: ApiParts, { user }: Identity): Promise<Descriptor | undefined> {
  const resolution = await parts.pipeline().resolveAfresh(call.env.exchange, undefined, { user, hasConsent: true })
  return resolution.ok && resolution.value.discovery.source === 'host' ? resolution.value : undefined
}

/** @throws WaiterError 400 for anything but a small form */
async function readForm(call: ApiCall): Promise<Map<string, string>> {
  const bytes = await call.env.exchange.readBody(FORM_BYTES_MAX)
  try {
    const contentType = call.req.header('content-type') ?? ''
    const form = await new Response(bytes as Uint8Array<ArrayBuffer>, {
      headers: { 'content-type': contentType },
    }).formData()
    const fields = new Map<string, string>()
    for (const [name, value] of form.entries()) if (typeof value === 'string') fields.set(name, value)
    return fields
  } catch (error) {
    throw new WaiterError('The body is not a form', { code: 'WTR_CONSENT_REFUSED', status: 400, cause: error })
  }
}

function identityOf(call: ApiCall): Identity {
  const { identity } = call.env
  if (identity === undefined) throw new Error('an authenticated path without an identity')
  return identity
}

function refused(problem: string): WaiterError {
  return new WaiterError(problem, { code: 'WTR_CONSENT_REFUSED', status: 400 })
}

function renderGrant(grant: ConsentGrant): Record<string, unknown> {
  const issueTime = new Date(grant.issuedAtMs).toISOString()
  const what = grant.mode === 'service' ? { 'service-id': grant.serviceId } : { token: grant.token, owner: grant.owner }
  return {
    'raw-content': writeConsent(grant),
    'formatted-content': { mode: grant.mode, 'issue-time': issueTime, ...what },
  }
}
