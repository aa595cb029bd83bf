const BYPASS = 'x-waiter-bypass-interstitial='
/** How long a page that was shown lets its own request through. */
const BYPASS_MS = 10_000

/** What a request's query says about the interstitial (spec §1.11). */
export interface InterstitialQuery {
  /** The last parameter is a bypass that has not run out. */
  readonly isBypassed: boolean
  /** The query without the bypass, valid or not; null when nothing is left. */
  readonly rest: string | null
}

/** Takes the bypass out of a query: it counts only as the last parameter. */
export function readInterstitialQuery(query: string | null, nowMs: number): InterstitialQuery {
  if (query === null) return { isBypassed: false, rest: null }
  const start = query.lastIndexOf('&') + 1
  if (!query.startsWith(BYPASS, start)) return { isBypassed: false, rest: query }
  const value = query.slice(start + BYPASS.length)
  const untilMs = /^\d{1,15}$/.test(value) ? Number(value) : 0
  // A bypass that lasts for ever was not made by the page.
  const isBypassed = nowMs <= untilMs && untilMs <= nowMs + BYPASS_MS
  return { isBypassed, rest: start === 0 ? null : query.slice(0, start - 1) }
}

/** The query with which a page that was shown at `nowMs` goes on. */
export function withBypass(query: string | null, nowMs: number): string {
  return `${query === null || query === '' ? '' : `${query}&`}${BYPASS}${nowMs + BYPASS_MS}`
}

/** Does a request of a browser see the page while the service starts? */
export function wantsInterstitial(request: {
  readonly interstitialSecs: number
  readonly isOnTheFly: boolean
  readonly accept: string | undefined
}): boolean {
  return request.interstitialSecs > 0 && !request.isOnTheFly && (request.accept ?? '').includes('text/html')
}
