import type { Cluster } from '../config/cluster.ts'
import { cliError } from '../errors.ts'
import type { ApiAnswer, ApiRequest, WaiterClient } from './client.ts'
import { labelOf, readWaiterError, refusal } from './problems.ts'

/** An object of an answer; keys as on the wire. */
export type Json = Readonly<Record<string, unknown>>

/** A token as it is now. */
export interface StoredToken {
  readonly etag: string
  /** With metadata: `cluster`, `last-update-time`, `deleted` … */
  readonly body: Json
}

/** Part of a file. */
export interface FilePiece {
  readonly bytes: Buffer
  /** Where the piece begins. */
  readonly offset: number
  /** Of the whole file. */
  readonly size: number
}

/** One instance's file. */
export interface FileAddress {
  readonly serviceId: string
  readonly instanceId: string
  readonly host: string
  readonly file: string
}

/** A large cluster's tokens are read or written meanwhile. */
const SNAPSHOT_MS = 300_000
const NOT_FOUND = 404
const PARTIAL = 206
const UNSATISFIABLE = 416
/** Beyond the ping itself: all routers are asked for at most 6 s, and the answer has a way to go. */
const PING_SLACK_MS = 15_000

/** What the commands ask a Waiter. Everything else than the expected answers is thrown. */
export class WaiterApi {
  readonly #client: WaiterClient

  constructor(client: WaiterClient) {
    this.#client = client
  }

  get cluster(): Cluster {
    return this.#client.cluster
  }

  /** Who the Waiter thinks we are. */
  async whoAmI(): Promise<string> {
    return (await this.#expect({ method: 'GET', path: '/waiter-auth' })).body.toString('utf8').trim()
  }

  /** @param wanted deleted ones as well: with `deleted: true` */
  async readToken(
    token: string,
    wanted: { readonly isDeletedWanted?: boolean } = {},
  ): Promise<StoredToken | undefined> {
    const include = wanted.isDeletedWanted === true ? ['metadata', 'deleted'] : ['metadata']
    const request: ApiRequest = { method: 'GET', path: `/token?${query({ token, include })}` }
    const answer = await this.#client.send(request)
    if (isAbsent(answer)) return undefined
    return { etag: answer.header('etag') ?? '', body: this.#json(request, answer) }
  }

  /** What the Waiter itself is called: `cluster` of its tokens. */
  async clusterName(): Promise<string> {
    const request: ApiRequest = { method: 'GET', path: '/settings' }
    return textOf(objectOf(this.#json(request, await this.#client.send(request)), 'cluster-config'), 'name')
  }

  /**
   * Replaces a token, or creates it when `etag` is empty.
   *
   * @param mode `admin`: as an administrator, who may set everything
   * @returns its new etag and what Waiter did
   */
  async writeToken(token: string, body: Json, etag: string, mode?: 'admin'): Promise<{ etag: string; result: string }> {
    const answer = await this.#expect({
      method: 'POST',
      path: `/token?${query({ token, 'update-mode': mode })}`,
      headers: { 'if-match': etag },
      body: JSON.stringify(body),
    })
    return { etag: answer.header('etag') ?? '', result: answer.header('x-waiter-operation-result') ?? '' }
  }

  /** @param how `isHard`: its history is forgotten, too; for administrators */
  async deleteToken(token: string, etag: string, how: { readonly isHard?: boolean } = {}): Promise<void> {
    const hardDelete = how.isHard === true ? 'true' : undefined
    const path = `/token?${query({ token, 'hard-delete': hardDelete })}`
    await this.#expect({ method: 'DELETE', path, headers: { 'if-match': etag } })
  }

  async listTokens(parameters: Query): Promise<readonly Json[]> {
    return await this.#list(`/tokens?${query(parameters)}`)
  }

  /** Everybody's services of a token, those first that were asked for last. */
  async listServicesOf(token: string): Promise<readonly Json[]> {
    const services = await this.#list(`/apps?${query({ 'run-as-user': '*', token: literalPattern(token) })}`)
    return services.toSorted((a, b) => textOf(b, 'last-request-time').localeCompare(textOf(a, 'last-request-time')))
  }

  async readService(serviceId: string): Promise<Json | undefined> {
    const request: ApiRequest = { method: 'GET', path: `/apps/${encodeURIComponent(serviceId)}` }
    const answer = await this.#client.send(request)
    return isAbsent(answer) ? undefined : this.#json(request, answer)
  }

  /** @param timeoutMs how long Waiter waits for its routers to hear of it */
  async killService(serviceId: string, timeoutMs: number): Promise<Json> {
    const request: ApiRequest = {
      method: 'DELETE',
      path: `/apps/${encodeURIComponent(serviceId)}?${query({ timeout: String(timeoutMs) })}`,
      readTimeoutMs: timeoutMs + PING_SLACK_MS,
    }
    return this.#json(request, await this.#client.send(request))
  }

  /** Replaces an instance, or stops it. @returns what Waiter says it did */
  async signalInstance(address: {
    readonly serviceId: string
    readonly instanceId: string
    readonly kind: 'expire' | 'kill'
    readonly isForced?: boolean
    readonly timeoutMs?: number | undefined
  }): Promise<{ readonly isDone: boolean; readonly message: string }> {
    const { serviceId, instanceId, kind, isForced, timeoutMs } = address
    const search = query({
      force: isForced === true ? 'true' : undefined,
      timeout: timeoutMs === undefined ? undefined : String(timeoutMs),
    })
    const path = `/apps/${encodeURIComponent(serviceId)}/instance/${encodeURIComponent(instanceId)}/${kind}`
    const request: ApiRequest = { method: 'POST', path: search === '' ? path : `${path}?${search}` }
    const answer = await this.#client.send(request)
    const isSaid = answer.status === NOT_FOUND && readWaiterError(answer) === undefined
    const said = objectOf(this.#json(request, isSaid ? { ...answer, status: 200 } : answer), 'signal-response')
    return { isDone: said['success'] === true, message: textOf(said, 'message') }
  }

  /** The control nodes. */
  async readMembers(): Promise<Json> {
    const request: ApiRequest = { method: 'GET', path: '/cluster/members' }
    return this.#json(request, await this.#client.send(request))
  }

  /** Resolves when `node` leads. */
  /** The bytes of a snapshot file. */
  async takeSnapshot(): Promise<Buffer> {
    return (await this.#expect({ method: 'GET', path: '/cluster/snapshot', readTimeoutMs: SNAPSHOT_MS })).body
  }

  async restoreSnapshot(content: string, force: boolean): Promise<Json> {
    const request: ApiRequest = {
      method: 'POST',
      path: `/cluster/restore?${query({ force: String(force) })}`,
      headers: { 'content-type': 'application/octet-stream' },
      body: content,
      readTimeoutMs: SNAPSHOT_MS,
    }
    return this.#json(request, await this.#client.send(request))
  }

  /** @returns what was done, in words */
  async drain(node: string): Promise<string> {
    const request: ApiRequest = { method: 'POST', path: `/drain?${query({ node })}` }
    return textOf(this.#json(request, await this.#client.send(request)), 'result')
  }

  /** @returns what was done, in words */
  async undrain(node: string): Promise<string> {
    const request: ApiRequest = { method: 'POST', path: `/undrain?${query({ node })}` }
    return textOf(this.#json(request, await this.#client.send(request)), 'result')
  }

  async leave(node: string, force: boolean): Promise<void> {
    await this.#expect({ method: 'POST', path: `/cluster/leave?${query({ node, force: String(force) })}` })
  }

  async transferLeader(node: string): Promise<Json> {
    const request: ApiRequest = { method: 'POST', path: `/cluster/transfer-leader?${query({ node })}` }
    return this.#json(request, await this.#client.send(request))
  }

  /** @param target a token, or `^SERVICE-ID#…` */
  async ping(target: string, timeoutMs: number): Promise<Json> {
    const request: ApiRequest = {
      method: 'GET',
      path: '/waiter-ping',
      headers: { 'x-waiter-token': target, 'x-waiter-timeout': String(timeoutMs) },
      readTimeoutMs: timeoutMs + PING_SLACK_MS,
    }
    return this.#json(request, await this.#client.send(request))
  }

  /**
   * A piece of a file: the last `tailBytes`, or what follows `from`.
   *
   * @returns undefined when there is no such file
   */
  async readFile(
    address: FileAddress,
    range: { readonly tailBytes: number } | { readonly from: number },
  ): Promise<FilePiece | undefined> {
    const { serviceId, instanceId, host, file } = address
    const bytes = 'from' in range ? `bytes=${range.from}-` : `bytes=-${range.tailBytes}`
    const request: ApiRequest = {
      method: 'GET',
      path: `/apps/${encodeURIComponent(serviceId)}/logs?${query({ 'instance-id': instanceId, host, file })}`,
      headers: { range: bytes },
    }
    const answer = await this.#client.send(request)
    if (isAbsent(answer)) return undefined
    const [, first, total] = /^bytes (?:\*|(\d+)-\d+)\/(\d+)$/.exec(answer.header('content-range') ?? '') ?? []
    if (answer.status === UNSATISFIABLE && total !== undefined)
      return { bytes: Buffer.alloc(0), offset: Number(total), size: Number(total) }
    if (answer.status === PARTIAL && first !== undefined)
      return { bytes: answer.body, offset: Number(first), size: Number(total) }
    if (answer.status !== 200) throw refusal(this.cluster, request, answer)
    // The whole file: of a server that knows no ranges.
    const offset = 'from' in range ? Math.min(range.from, answer.body.length) : 0
    return { bytes: answer.body.subarray(offset), offset, size: answer.body.length }
  }

  async #expect(request: ApiRequest): Promise<ApiAnswer> {
    const answer = await this.#client.send(request)
    if (answer.status !== 200) throw refusal(this.cluster, request, answer)
    return answer
  }

  async #list(path: string): Promise<readonly Json[]> {
    const request: ApiRequest = { method: 'GET', path }
    const parsed: unknown = this.#parse(request, await this.#client.send(request))
    if (Array.isArray(parsed)) return parsed.filter(isJson)
    throw this.#strange(request, 'a list')
  }

  #json(request: ApiRequest, answer: ApiAnswer): Json {
    const parsed = this.#parse(request, answer)
    if (isJson(parsed)) return parsed
    throw this.#strange(request, 'an object')
  }

  #parse(request: ApiRequest, answer: ApiAnswer): unknown {
    if (answer.status !== 200) throw refusal(this.cluster, request, answer)
    try {
      return JSON.parse(answer.body.toString('utf8'))
    } catch {
      throw this.#strange(request, 'JSON')
    }
  }

  #strange(request: ApiRequest, wanted: string): Error {
    const path = request.path.replace(/\?.*/s, '')
    return cliError(
      'refused',
      `${labelOf(this.cluster)} answered ${path} with something that is not ${wanted}. Is that a Waiter?`,
    )
  }
}

type Query = Readonly<Record<string, string | readonly string[] | undefined>>

function query(parameters: Query): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters))
    for (const one of value === undefined ? [] : typeof value === 'string' ? [value] : value) search.append(name, one)
  return search.toString()
}

/** Waiter itself says that there is no such thing, not some other server. */
function isAbsent(answer: ApiAnswer): boolean {
  return answer.status === NOT_FOUND && readWaiterError(answer) !== undefined
}

/** A pattern for exactly this text: names of tokens have dots and dollars. */
function literalPattern(text: string): string {
  return text.replaceAll(/[.$^*+?()[\]{}|\\]/g, '\\$&')
}

/** Is it an object? */
export function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A text field of an answer; empty when there is none. */
export function textOf(object: Json, key: string): string {
  const value = object[key]
  return typeof value === 'string' ? value : ''
}

/** A field of an answer that is an object; empty when there is none. */
export function objectOf(object: Json, key: string): Json {
  const value = object[key]
  return isJson(value) ? value : {}
}

/** A field of an answer that is a list of objects; empty when there is none. */
export function listOf(object: Json, key: string): readonly Json[] {
  const value = object[key]
  return Array.isArray(value) ? value.filter(isJson) : []
}

/** A number of an answer; 0 when there is none. */
export function numberOf(object: Json, key: string): number {
  const value = object[key]
  return typeof value === 'number' ? value : 0
}
