import type { Millis } from '@waiter/base'
import type { ManagedService } from './managed-service.ts'
import type { TokenKnowledge } from './token-knowledge.ts'

/** A router may know a token's newest version before this leader does: new references count as current for so long. */
const NEWS_DELAY_MS = 2_000
/** While a superseded service is still asked for, its successor is seen to this often. */
const SUCCESSOR_EVERY_MS = 5_000

/** Knows which services each token led to, and judges anew whether they are stale when that may have changed. */
export class TokenFollowers {
  readonly #servicesByToken = new Map<string, Set<ManagedService>>()
  /** By service: when it is to be judged anew. */
  readonly #dueAt = new Map<ManagedService, Millis>()

  add(service: ManagedService, nowMs: Millis): void {
    for (const { token } of service.sourceTokens.flat()) {
      const services = this.#servicesByToken.get(token) ?? new Set()
      services.add(service)
      this.#servicesByToken.set(token, services)
    }
    service.staleness = undefined
    this.#dueAt.set(service, nowMs + NEWS_DELAY_MS)
  }

  forget(service: ManagedService): void {
    this.#dueAt.delete(service)
    for (const { token } of service.sourceTokens.flat()) {
      const services = this.#servicesByToken.get(token)
      services?.delete(service)
      if (services?.size === 0) this.#servicesByToken.delete(token)
    }
  }

  /** A token has changed. @returns services that are to be reviewed */
  tokenChanged(token: string): readonly ManagedService[] {
    const services = [...(this.#servicesByToken.get(token) ?? [])]
    for (const service of services) if (!this.#dueAt.has(service)) this.#dueAt.set(service, 0)
    return services
  }

  /** Judges a service anew if that is due. @returns true when the outcome is another, and when to ask again */
  refresh(
    service: ManagedService,
    knowledge: TokenKnowledge,
    nowMs: Millis,
  ): { readonly isChanged: boolean; readonly nextMs: Millis } {
    const dueAtMs = this.#dueAt.get(service)
    if (dueAtMs === undefined) return { isChanged: false, nextMs: Number.POSITIVE_INFINITY }
    if (nowMs < dueAtMs) return { isChanged: false, nextMs: dueAtMs }
    this.#dueAt.delete(service)
    const wasStale = service.staleness !== undefined
    service.staleness = knowledge.staleness(service)
    service.isWithdrawn = knowledge.isWithdrawn(service)
    return { isChanged: wasStale !== (service.staleness !== undefined), nextMs: Number.POSITIVE_INFINITY }
  }
}

/**
 * Is a superseded service still asked for (its address is remembered, or its traffic comes past us), so that its
 * successor should be kept warm (spec §5.9 start-new-services)? At most every 5 s, and only after new requests.
 */
export function wantsSuccessor(service: ManagedService, nowMs: Millis): boolean {
  if (service.staleness === undefined || service.isWithdrawn) return false
  const { lastRequestMs } = service.usage()
  if (lastRequestMs <= service.succeededAtRequestMs || nowMs < service.succeededAtRequestMs + SUCCESSOR_EVERY_MS)
    return false
  service.succeededAtRequestMs = nowMs
  return true
}
