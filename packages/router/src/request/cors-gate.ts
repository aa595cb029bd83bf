import type { Exchange, OwnResponse } from '@waiter/proxy'
import { type CorsPolicy, type CorsRule, type CorsVerdict, judgeCors, preflightHeaders } from '@waiter/services'
import type { RequestError } from '../errors/error-response.ts'
import type { ForeignPages } from './foreign-pages.ts'

export interface CorsSettings {
  readonly policy: CorsPolicy
  /** Headers of API answers that pages may read. */
  readonly exposedHeaders: readonly string[]
  readonly maxAgeSecs: number
}

export interface CorsGateOptions extends CorsSettings {
  readonly foreignPages: ForeignPages
  readonly isHttps: (exchange: Exchange) => boolean
}

const OK = 200
/** Longest list of headers that is echoed. */
const REQUESTED_HEADERS = /^[\w!#$%&'*+.^`|~, -]{1,1024}$/

/** Cross-origin requests of browsers (spec §1.12): which are let through, and what the answers say about it. */
export class CorsGate {
  readonly #options: CorsGateOptions

  constructor(options: CorsGateOptions) {
    this.#options = options
  }

  isPreflight({ head }: Exchange): boolean {
    return head.method === 'OPTIONS' && head.has('origin') && head.has('access-control-request-method')
  }

  /** @param rules of the token that the host names */
  judge(exchange: Exchange, origin: string, rules: readonly CorsRule[] | undefined): CorsVerdict {
    const { head } = exchange
    const { policy, foreignPages, isHttps } = this.#options
    if (foreignPages.isOwnOrigin(origin, head.authority)) return judgeCors({ kind: 'allow-all' }, NO_REQUEST)
    const method = this.isPreflight(exchange) ? (head.get('access-control-request-method') ?? '') : head.method
    const scheme = isHttps(exchange) ? 'https' : 'http'
    return judgeCors(policy, { origin, scheme, authority: head.authority, path: head.path, method, rules })
  }

  /**
   * May a page of this origin use the API, or describe services in headers? Only Waiter's own pages, and those that an
   * administrator listed: what everybody may do with one's own service, one may not allow for the whole cluster.
   */
  isAllowedInApi({ head }: Exchange, origin: string): boolean {
    const { policy, foreignPages } = this.#options
    if (foreignPages.isOwnOrigin(origin, head.authority)) return true
    if (policy.kind !== 'patterns') return false
    return judgeCors(policy, { ...NO_REQUEST, origin }).isAllowed
  }

  judgeApi(exchange: Exchange, origin: string): CorsVerdict {
    if (!this.isAllowedInApi(exchange, origin)) return { isAllowed: false, reason: 'the page is not one of Waiter' }
    return judgeCors({ kind: 'allow-all' }, NO_REQUEST)
  }

  answerPreflight(verdict: CorsVerdict, exchange: Exchange): OwnResponse | RequestError {
    const { head } = exchange
    if (!verdict.isAllowed) return refusal(verdict.reason, 'waiter.CorsPreflightForbidden')
    const requested = head.get('access-control-request-headers')
    const headers = preflightHeaders(verdict.methods, {
      origin: head.get('origin') ?? '',
      requestedHeaders: requested !== undefined && REQUESTED_HEADERS.test(requested) ? requested : undefined,
      maxAgeSecs: this.#options.maxAgeSecs,
    })
    return { status: OK, headers }
  }

  /** What the answer to an allowed request of a page says. */
  answerHeaders(origin: string, isApi: boolean): readonly (readonly [name: string, value: string])[] {
    const { exposedHeaders } = this.#options
    return [
      ['access-control-allow-credentials', 'true'],
      ['access-control-allow-origin', origin],
      ...(isApi && exposedHeaders.length > 0
        ? [['access-control-expose-headers', exposedHeaders.join(', ')] as const]
        : []),
      ['vary', 'origin'],
    ]
  }
}

const NO_REQUEST = { origin: '', scheme: 'http', authority: '', path: '/', method: 'GET', rules: undefined }

export function refusal(reason: string, errorClass: string): RequestError {
  return { status: 403, message: 'Cross-origin request not allowed', errorClass, details: { reason } }
}
