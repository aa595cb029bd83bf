import { err, ok, type Result } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import type { ServiceDescription } from './description.ts'
import type { DescriptorError, DiscoveredToken, Discovery } from './descriptor.ts'
import { PARAMETERS } from './parameters.ts'
import type { PreviousToken, TokenRecord } from './token.ts'
import { tokenEtag } from './token-etag.ts'
import { computeTokenMetadata } from './token-metadata.ts'
import type { WaiterHeaders } from './waiter-headers.ts'

/** A raw service id used as a token begins so: `^SERVICE-ID#<service-id>`. */
export const RAW_SERVICE_ID_PREFIX = '^SERVICE-ID#'
/** Tokens that one `x-waiter-token` header may name. */
export const TOKENS_PER_REQUEST_MAX = 16

export interface DiscoveryInput {
  readonly headers: WaiterHeaders
  /** The `Host` header or `:authority`, with or without port. */
  readonly host: string | undefined
  /** Looks a token up in the router's memory. Deleted tokens may be returned; they count as absent. */
  readonly findToken: (name: string) => TokenRecord | undefined
  /** Looks up the core description of a known service, for `^SERVICE-ID#…`. */
  readonly findServiceDescription?: (serviceId: string) => ServiceDescription | undefined
  readonly config: ServicesConfig
}

/**
 * Finds the tokens that a request names (spec §1.2 point 2). Needs no user: maintenance, redirect and whether to
 * authenticate at all are decided from its result.
 *
 * @returns 404 for an unknown token in the header, 400 for unsupported headers; an unknown host token is no error yet
 */
export function discoverService(input: DiscoveryInput): Result<Discovery, DescriptorError> {
  const { headers, config } = input
  const unsupported = config.unsupportedHeaders.filter(name => headers.has(name))
  if (unsupported.length > 0) return err(unsupportedHeaders(unsupported))
  const headerValue = headers.get('token')?.trim() ?? ''
  if (headerValue === '') {
    const host = hostToken(input.host, config)
    return ok(host === undefined ? assemble([], 'none', [], config) : discoverHost(host, input))
  }
  const names = headerValue
    .split(',')
    .map(name => name.trim())
    .filter(name => name !== '')
  if (names.length === 0 || names.length > TOKENS_PER_REQUEST_MAX) return err(badTokenCount(names.length))
  const found: Found[] = []
  for (const name of names) {
    const token = findOne(name, input)
    if (token === undefined) return err(tokenNotFound(name))
    found.push(token)
  }
  return ok(assemble(names, 'header', found, config))
}

/** The host as a token name: lower case, without port; undefined when it is blank or one of Waiter's own names. */
export function hostToken(host: string | undefined, config: ServicesConfig): string | undefined {
  if (host === undefined) return undefined
  const name = host.trim().replace(/:\d*$/, '').toLowerCase()
  return name === '' || config.waiterHostnames.includes(name) ? undefined : name
}

type Found =
  | { readonly kind: 'token'; readonly token: DiscoveredToken }
  | { readonly kind: 'service'; readonly description: ServiceDescription }

function findOne(name: string, input: DiscoveryInput): Found | undefined {
  if (name.startsWith(RAW_SERVICE_ID_PREFIX)) {
    const description = input.findServiceDescription?.(name.slice(RAW_SERVICE_ID_PREFIX.length))
    return description === undefined ? undefined : { kind: 'service', description }
  }
  const record = input.findToken(name)
  if (record === undefined || record.deleted === true) return undefined
  return { kind: 'token', token: { token: name, version: tokenEtag(record), record } }
}

/** Host names ignore case, token names do not: the host as it was written is tried first. */
function discoverHost(host: string, input: DiscoveryInput): Discovery {
  const written = input.host!.trim().replace(/:\d*$/, '')
  const found = findOne(written, input) ?? findOne(host, input)
  const name = found?.kind === 'token' ? found.token.token : host
  return assemble([name], 'host', found?.kind === 'token' ? [found] : [], input.config)
}

function assemble(
  names: readonly string[],
  source: Discovery['source'],
  found: readonly Found[],
  config: ServicesConfig,
): Discovery {
  const records = found.flatMap(one => (one.kind === 'token' ? [one.token] : []))
  const merged = mergeSources(found.map(one => (one.kind === 'token' ? one.token.record : one.description)))
  const metadata = computeTokenMetadata(merged, config)
  const down = records.findLast(one => one.record.maintenance !== undefined)
  return {
    names,
    source,
    records,
    template: pickParameters(merged),
    metadata,
    maintenance:
      down === undefined
        ? undefined
        : { token: down.token, owner: down.record.owner, message: down.record.maintenance!.message },
    isHttpsRedirected: metadata['https-redirect'],
    // Never for several tokens: one of them could then inject its variables into a stranger's service, unauthenticated.
    isAuthenticationDisabled: names.length === 1 && records[0]?.record.authentication === 'disabled',
    hasRawServiceId: found.some(one => one.kind === 'service'),
  }
}

function mergeSources(sources: readonly PreviousToken[]): PreviousToken {
  let merged: PreviousToken = {}
  for (const source of sources) {
    merged = {
      ...merged,
      ...source,
      ...(merged.env !== undefined || source.env !== undefined ? { env: { ...merged.env, ...source.env } } : {}),
      ...(merged.metadata !== undefined || source.metadata !== undefined
        ? { metadata: { ...merged.metadata, ...source.metadata } }
        : {}),
    }
  }
  return merged
}

/** Only the service parameters of a token. */
export function pickParameters(record: PreviousToken): ServiceDescription {
  const picked: Record<string, unknown> = {}
  for (const { name } of PARAMETERS) {
    if (Object.hasOwn(record, name) && record[name] !== undefined) picked[name] = record[name]
  }
  return picked as ServiceDescription
}

function unsupportedHeaders(names: readonly string[]): DescriptorError {
  return {
    kind: 'unsupported-headers',
    status: 400,
    message: 'Unsupported waiter headers found',
    errorClass: undefined,
    details: { headers: names.map(name => `x-waiter-${name}`) },
  }
}

function badTokenCount(count: number): DescriptorError {
  return {
    kind: 'invalid-headers',
    status: 400,
    message: `x-waiter-token must name 1 to ${TOKENS_PER_REQUEST_MAX} tokens, separated by commas; it names ${count}`,
    errorClass: 'waiter.ServiceUnknown',
    details: {},
  }
}

function tokenNotFound(name: string): DescriptorError {
  const shown = name.length > 256 ? `${name.slice(0, 256)}…` : name
  return {
    kind: 'token-not-found',
    status: 404,
    message: `Token not found: ${shown}`,
    errorClass: 'waiter.ServiceUnknown',
    details: { token: shown },
  }
}
