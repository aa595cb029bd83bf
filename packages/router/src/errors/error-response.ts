import type { OwnResponse } from '@waiter/proxy'
import { renderGrpcError } from '../request/grpc.ts'
import { type SupportInfo, type SupportLink, supportLinksFor } from './support-info.ts'

/** What a user is told when Waiter itself ends a request (spec §1.7). */
export interface RequestError {
  readonly status: number
  /** A sentence: what, where, how to mend. */
  readonly message: string
  /** For example `waiter.DeploymentError`; chooses the title. */
  readonly errorClass?: string
  readonly details?: Readonly<Record<string, unknown>>
  readonly headers?: readonly (readonly [name: string, value: string])[]
  readonly title?: string
}

/** What the answer repeats of the request. */
export interface ErrorContext {
  readonly cid: string
  readonly method: string
  readonly host: string
  readonly path: string
  readonly query: string | null
  readonly accept: string | undefined
  readonly contentType: string | undefined
  /** A gRPC call: answered in trailers, unless it accepts a page. */
  readonly isGrpc?: boolean
  readonly principal: string | null
  readonly serviceId: string | null
  readonly instanceId: string | null
  readonly serviceOwner?: string
  readonly token?: string
  readonly supportInfo: readonly SupportInfo[]
  readonly timestamp: Date
  /** Headers of every answer of Waiter's own. */
  readonly own: readonly (readonly [name: string, value: string])[]
}

const TITLES: Readonly<Record<string, string>> = {
  'waiter.DeploymentError': 'Deployment Error',
  'waiter.Maintenance': 'Down For Maintenance',
  'waiter.QueueLength': 'Queue Length Exceeded',
  'waiter.RequestTimeout': 'Request Timeout',
  'waiter.ReserveBackPressure': 'Reservation Back Pressure',
  'waiter.ServiceForbidden': 'Service Forbidden',
  'waiter.ServiceMisconfigured': 'Service Misconfigured',
  'waiter.ServiceUnknown': 'Service Unknown',
  'waiter.StreamFailure': 'Stream Failure',
  'waiter.StreamTimeout': 'Stream Timeout',
  'waiter.Suspended': 'Service Suspended',
  'waiter.CorsPreflightForbidden': 'Cross-Origin Request Forbidden',
  'waiter.CorsRequestForbidden': 'Cross-Origin Request Forbidden',
}

/** What somebody accepts who wants to read the answer. */
const PAGES = /application\/json|text\/html|text\/plain/

type Format = 'json' | 'html' | 'text'

/** Renders an error in the form that the client asked for: JSON, HTML, text or gRPC's trailers (spec §1.7). */
export function renderRequestError(error: RequestError, context: ErrorContext): OwnResponse {
  const format = chooseFormat(context)
  if (context.isGrpc === true && !PAGES.test(context.accept ?? '')) return renderGrpcError(error, context)
  const title = error.title ?? TITLES[error.errorClass ?? ''] ?? `Waiter Error ${error.status}`
  return {
    status: error.status,
    headers: [['content-type', CONTENT_TYPES[format]], ...context.own, ...(error.headers ?? [])],
    body: RENDERERS[format](error, context, title),
  }
}

/** JSON, HTML or text: by `accept`, then by the request's own content type, else text. */
export function chooseFormat(context: { accept: string | undefined; contentType: string | undefined }): Format {
  const accept = context.accept ?? ''
  if (accept.includes('application/json')) return 'json'
  if (accept.includes('text/html')) return 'html'
  if (accept.includes('text/plain')) return 'text'
  return context.contentType === 'application/json' ? 'json' : 'text'
}

const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  json: 'application/json',
  html: 'text/html;charset=utf-8',
  text: 'text/plain;charset=utf-8',
}

const RENDERERS: Readonly<Record<Format, (error: RequestError, context: ErrorContext, title: string) => string>> = {
  json: renderJson,
  html: renderHtml,
  text: renderText,
}

function detailsOf(error: RequestError): Record<string, unknown> {
  return {
    ...error.details,
    ...(error.errorClass === undefined ? {} : { 'error-class': error.errorClass }),
    'log-level': error.status >= 500 ? 'warn' : 'info',
    status: error.status,
  }
}

function renderJson(error: RequestError, context: ErrorContext, title: string): string {
  return `${JSON.stringify({
    'waiter-error': {
      cid: context.cid,
      details: detailsOf(error),
      host: context.host,
      'instance-id': context.instanceId,
      message: error.message,
      principal: context.principal,
      'query-string': context.query,
      'request-method': context.method.toUpperCase(),
      'service-id': context.serviceId,
      ...(context.serviceOwner === undefined ? {} : { 'service-owner': context.serviceOwner }),
      status: error.status,
      'support-info': helpFor(error, context, title),
      timestamp: context.timestamp.toISOString(),
      title,
      uri: context.path,
      ...(context.token === undefined ? {} : { 'waiter-token': context.token }),
    },
  })}\n`
}

/** Where to get help with this error. */
function helpFor(error: RequestError, context: ErrorContext, title: string): readonly SupportLink[] {
  return supportLinksFor(context.supportInfo, error.errorClass, {
    cid: context.cid,
    host: context.host,
    'instance-id': context.instanceId,
    message: error.message,
    principal: context.principal,
    'request-method': context.method.toUpperCase(),
    'service-id': context.serviceId,
    'service-owner': context.serviceOwner,
    status: error.status,
    timestamp: context.timestamp.toISOString(),
    title,
    uri: context.path,
    'waiter-token': context.token,
  })
}

/** The facts of the page, in reading order. */
function factsOf(error: RequestError, context: ErrorContext): [label: string, value: string | null | undefined][] {
  return [
    ['Host', context.host],
    ['Path', context.path],
    ['Query String', context.query],
    ['Method', context.method],
    ['CID', context.cid],
    ['Time', context.timestamp.toISOString()],
    ['Principal', context.principal],
    ['Waiter Token', context.token],
    ['Service Owner', context.serviceOwner],
    ['Service Id', context.serviceId],
    ['Instance Id', context.instanceId],
    ['Additional Info', JSON.stringify(error.details ?? {}, null, 2)],
  ]
}

function renderText(error: RequestError, context: ErrorContext, title: string): string {
  const width = 16
  const facts = factsOf(error, context)
    .filter(([, value]) => value)
    .map(([label, value]) => `  ${`${label}:`.padEnd(width)} ${String(value).replaceAll('\n', '\n  ')}`)
  const help = helpFor(error, context, title).map(({ label, link }) => `  ${`${label}:`.padEnd(width)} ${link.value}`)
  return [
    `${error.status} ${title}`,
    '='.repeat(title.length + 4),
    '',
    `  ${error.message.replaceAll('\n', '\n  ')}`,
    '',
    'Request Info',
    '',
    ...facts,
    ...(help.length === 0 ? [] : ['', 'Getting Help', '', ...help]),
    '',
  ].join('\n')
}

function renderHtml(error: RequestError, context: ErrorContext, title: string): string {
  const rows = factsOf(error, context)
    .filter(([, value]) => value)
    .map(([label, value]) => `<tr><th>${escapeHtml(label)}</th><td><pre>${escapeHtml(String(value))}</pre></td></tr>`)
  const help = helpFor(error, context, title).map(
    ({ label, link }) => `<li>${escapeHtml(label)}: ${linkTo(link.value)}</li>`,
  )
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title><style>
body{font:15px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:56rem;padding:0 1rem;color:#222}
th{text-align:left;vertical-align:top;padding-right:1.5rem;font-weight:600;white-space:nowrap}pre{margin:0;white-space:pre-wrap}
</style></head><body><h1>${error.status} ${escapeHtml(title)}</h1><p>${linkUrls(escapeHtml(error.message)).replaceAll('\n', '<br>')}</p>
<table>${rows.join('\n')}</table>${help.length === 0 ? '' : `<h2>Getting Help</h2><ul>${help.join('')}</ul>`}</body></html>
`
}

/** Text as HTML shows it. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
}

function linkTo(value: string): string {
  const escaped = escapeHtml(value)
  return /^https?:\/\//.test(value) ? `<a href="${escaped}">${escaped}</a>` : escaped
}

/** Turns URLs of an escaped text into links. */
function linkUrls(escaped: string): string {
  return escaped.replace(/https?:\/\/[^\s<&]+/g, url => `<a href="${url}">${url}</a>`)
}
