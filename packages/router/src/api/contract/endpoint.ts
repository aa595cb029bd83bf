import { assert, WaiterError } from '@waiter/base'
import { type JsonLimits, parseLimitedJson } from '@waiter/services'
import type { Hono } from 'hono'
import type { z } from 'zod'
import { type ApiCall, type ApiEnvironment, queryOf } from '../api-context.ts'
import { badRequest, parseQuery, type QueryOf, type QueryShape } from './query.ts'

/** Who may call an endpoint; whether a service may be managed is decided by its handler. */
export type Access = 'public' | 'user' | 'administrator'

/** One way in which an endpoint answers. */
export interface AnswerSpec {
  readonly description: string
  readonly json?: z.ZodType
  /** Media types of answers that are no JSON. */
  readonly media?: readonly string[]
}

/** An endpoint as its users see it: what `/openapi.json` says of it, and what its requests are checked against. */
export interface EndpointSpec {
  readonly method: 'get' | 'post' | 'delete' | 'put' | 'patch'
  /** In Hono's notation: `/apps/:id`. */
  readonly path: string
  readonly summary: string
  readonly description?: string
  readonly tag: string
  readonly access: Access
  /** A GET that changes something, as the original has them: no page of another origin may cause it. */
  readonly isChange?: true
  readonly query?: QueryShape
  /** What other names in the query mean; absent: nothing. */
  readonly otherQuery?: string
  readonly body?: z.ZodType
  readonly answers: Readonly<Record<number, AnswerSpec>>
}

/** A request to an endpoint, checked. */
export interface EndpointRequest<Spec extends EndpointSpec> {
  readonly call: ApiCall
  readonly query: QueryOf<Spec['query'] extends QueryShape ? Spec['query'] : Record<never, never>>
  readonly body: Spec['body'] extends z.ZodType ? z.output<Spec['body']> : undefined
  /** A part of the path by its name. */
  param(name: string): string
}

/** Bodies of the API beside tokens: overrides, metrics, small commands. */
const BODY_LIMITS: JsonLimits = { charsMax: 1_048_576, depthMax: 16, itemsMax: 32_768 }
const BODY_BYTES_MAX = 1_048_576

/** All endpoints of the API: routes them, checks their requests, and knows them for the document. */
export class Endpoints {
  readonly #app: Hono<ApiEnvironment>
  readonly #specs: EndpointSpec[] = []

  constructor(app: Hono<ApiEnvironment>) {
    this.#app = app
  }

  get specs(): readonly EndpointSpec[] {
    return this.#specs
  }

  add<const Spec extends EndpointSpec>(
    spec: Spec,
    handle: (request: EndpointRequest<Spec>) => Response | Promise<Response>,
  ): void {
    this.describe(spec)
    this.#app.on(spec.method.toUpperCase(), spec.path, async call => {
      if (spec.isChange) refuseForeignSite(call)
      const query = parseQuery(queryOf(call), spec.query ?? {})
      const body = spec.body === undefined ? undefined : await readBody(call, spec.body)
      const request = { call, query, body, param: (name: string) => call.req.param(name) ?? '' }
      return await handle(request as EndpointRequest<Spec>)
    })
  }

  /** An endpoint that is routed elsewhere. */
  describe(spec: EndpointSpec): void {
    this.#specs.push(spec)
  }

  /** What is routed and not described would be missing from the document, and 404 instead of 405. */
  assertAllDescribed(): void {
    for (const { method, path } of this.#app.routes) {
      const isDescribed = this.#specs.some(spec => spec.path === path && spec.method.toUpperCase() === method)
      assert(isDescribed, `${method} ${path} is described for /openapi.json`)
    }
  }

  /** Does some endpoint have this path, with whatever method? */
  isKnownPath(path: string): boolean {
    return this.#specs.some(spec => matchesPath(spec.path, path))
  }

  /** The most specific endpoint of this request: a path without parameters wins. */
  find(method: string, path: string): EndpointSpec | undefined {
    const found = this.#specs.filter(spec => spec.method === method.toLowerCase() && matchesPath(spec.path, path))
    return found.find(spec => !spec.path.includes(':')) ?? found[0]
  }
}

function matchesPath(pattern: string, path: string): boolean {
  if (pattern.endsWith('/*')) return path.startsWith(pattern.slice(0, -1))
  const wanted = pattern.split('/')
  const given = path.split('/')
  if (wanted.length !== given.length) return false
  return wanted.every((part, index) => (part.startsWith(':') ? given[index] !== '' : part === given[index]))
}

async function readBody(call: ApiCall, schema: z.ZodType): Promise<unknown> {
  const bytes = await call.env.exchange.readBody(BODY_BYTES_MAX)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw badRequest('Invalid JSON payload', { reason: 'The body is not UTF-8.' })
  }
  const json = parseLimitedJson(text, BODY_LIMITS)
  if (!json.ok) throw badRequest('Invalid JSON payload', { reason: json.error })
  const parsed = schema.safeParse(json.value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw badRequest(issue?.message ?? 'Invalid JSON payload', { field: issue?.path.map(String).join('.') ?? '' })
}

/** Browsers say where a request comes from; programs do not. */
function refuseForeignSite(call: ApiCall): void {
  const { head } = call.env.exchange
  const site = head.get('sec-fetch-site') ?? 'none'
  const origin = head.get('origin')
  const isOwn = origin === undefined || origin.replace(/^https?:\/\//, '') === head.authority
  if (isOwn && (site === 'none' || site === 'same-origin')) return
  throw new WaiterError('Cross-origin request not allowed', { code: 'WTR_FOREIGN_ORIGIN', status: 403 })
}
