import type { Exchange } from '@waiter/proxy'
import { type Descriptor, readInterstitialQuery, wantsInterstitial } from '@waiter/services'
import { BoundedMap } from '../auth/bounded-map.ts'
import type { RequestError } from '../errors/error-response.ts'
import type { ServiceTable } from '../services/service-table.ts'
import { encodeTarget, targetOf } from './own-targets.ts'

export const INTERSTITIAL_PATH = '/waiter-interstitial'

/** Services whose start somebody watches; the oldest are forgotten, and their users wait without a page. */
const SERVICES_MAX = 10_000
/** A service that was given up this long ago is shown starting again. */
const FORGET_MS = 600_000
const MS_PER_S = 1_000
const SEE_OTHER = 303

/** What becomes of a request of a service that may show a page while it starts. */
export interface InterstitialOutcome {
  /** The page comes first. */
  readonly redirect?: RequestError
  /** What the backend is asked for, when that is not what the client sent. */
  readonly requestTarget?: string
}

/** While a service starts, browsers see a page instead of nothing (spec §1.11). */
export class Interstitials {
  readonly #table: Pick<ServiceTable, 'get' | 'announce' | 'isInformed'>
  readonly #nowMs: () => number
  /** When the first request met the service without a healthy instance. */
  readonly #starts = new BoundedMap<string, { readonly startedAtMs: number; readonly timeoutMs: number }>(SERVICES_MAX)

  /** @param nowMs epoch milliseconds */
  constructor(table: Pick<ServiceTable, 'get' | 'announce' | 'isInformed'>, nowMs: () => number) {
    this.#table = table
    this.#nowMs = nowMs
  }

  /** Undefined for services without the page. */
  check({ head }: Exchange, descriptor: Descriptor): InterstitialOutcome | undefined {
    const interstitialSecs = descriptor.effective['interstitial-secs']
    if (interstitialSecs === 0) return undefined
    const nowMs = this.#nowMs()
    const { isBypassed, rest } = readInterstitialQuery(head.query, nowMs)
    const { isOnTheFly } = descriptor
    const isShown =
      !isBypassed &&
      wantsInterstitial({ interstitialSecs, isOnTheFly, accept: head.get('accept') }) &&
      this.#isStarting(descriptor.serviceId, interstitialSecs * MS_PER_S, nowMs)
    if (!isShown) return rest === head.query ? {} : { requestTarget: encodeTarget(targetOf(head.path, rest)) }
    // The page will ask again: by then an instance should be on its way.
    this.#table.announce(descriptor.definition, descriptor.tokens)
    const location = encodeTarget(targetOf(`${INTERSTITIAL_PATH}${head.path}`, rest))
    return {
      redirect: {
        status: SEE_OTHER,
        message: 'The service is starting',
        headers: [
          ['location', location],
          ['x-waiter-interstitial', 'true'],
        ],
      },
    }
  }

  /** What becomes of the page of each service that somebody has waited for, for `/state`. */
  state(): { readonly isInitialized: boolean; readonly byService: Readonly<Record<string, string>> } {
    const byService = [...this.#starts.keys()].map(id => [id, this.#stateOf(id)] as const)
    return { isInitialized: this.#table.isInformed, byService: Object.fromEntries(byService) }
  }

  #stateOf(serviceId: string): string {
    if ((this.#table.get(serviceId)?.leases.size ?? 0) > 0) return 'healthy-instance-found'
    const { startedAtMs = 0, timeoutMs = 0 } = this.#starts.get(serviceId) ?? {}
    return this.#nowMs() > startedAtMs + timeoutMs ? 'interstitial-timeout' : 'not-realized'
  }

  #isStarting(serviceId: string, timeoutMs: number, nowMs: number): boolean {
    if (!this.#table.isInformed) return false
    if ((this.#table.get(serviceId)?.leases.size ?? 0) > 0) {
      this.#starts.delete(serviceId)
      return false
    }
    const startedAtMs = this.#starts.get(serviceId)?.startedAtMs
    if (startedAtMs === undefined || nowMs > startedAtMs + timeoutMs + FORGET_MS) {
      this.#starts.set(serviceId, { startedAtMs: nowMs, timeoutMs })
      return true
    }
    return nowMs <= startedAtMs + timeoutMs
  }
}
