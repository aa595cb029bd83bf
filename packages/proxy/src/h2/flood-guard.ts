import type { Http2Limits } from './limits.ts'
import { TokenBucket } from './token-bucket.ts'

/** Things a peer may do for nothing, each with an allowance. */
export type FloodKind = 'reset' | 'settings' | 'ping' | 'empty-data' | 'window-update' | 'ignored'

/** Allowances of one connection; made when first needed, since most peers do none of it. */
export class FloodGuard {
  readonly #limits: Http2Limits
  readonly #nowMs: () => number
  readonly #buckets = new Map<FloodKind, TokenBucket>()

  constructor(limits: Http2Limits, nowMs: () => number) {
    this.#limits = limits
    this.#nowMs = nowMs
  }

  /** False when the peer has had more than its share: ENHANCE_YOUR_CALM. */
  allows(kind: FloodKind): boolean {
    let bucket = this.#buckets.get(kind)
    if (bucket === undefined) {
      bucket = this.#create(kind)
      this.#buckets.set(kind, bucket)
    }
    return bucket.take(this.#nowMs())
  }

  #create(kind: FloodKind): TokenBucket {
    const limits = this.#limits
    switch (kind) {
      case 'reset':
        return new TokenBucket(limits.resetsBurst, limits.resetsPerSecond)
      case 'settings':
        return new TokenBucket(limits.settingsBurst, limits.settingsPerSecond)
      case 'ping':
        return new TokenBucket(limits.pingsBurst, limits.pingsPerSecond)
      case 'empty-data':
        return new TokenBucket(limits.emptyDataBurst, limits.emptyDataPerSecond)
      case 'window-update':
        return new TokenBucket(limits.windowUpdatesBurst, limits.windowUpdatesPerSecond)
      case 'ignored':
        return new TokenBucket(limits.ignoredFramesBurst, limits.ignoredFramesPerSecond)
    }
  }
}
