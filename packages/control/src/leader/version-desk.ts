import type { Logger, Millis, ServiceId } from '@waiter/base'
import { RAW_SERVICE_ID_PREFIX, type ServiceDefinition, type ServicesConfig } from '@waiter/services'
import type { KeyValueStore } from '@waiter/store/port'
import type { SourceToken, SuccessionRequest } from '../agent/leader-link.ts'
import type { ManagedService } from './managed-service.ts'
import { ServiceArchive } from './service-archive.ts'
import type { SuccessionSettings } from './succession.ts'
import { SuccessionKeeper } from './succession-keeper.ts'
import { TokenFollowers, wantsSuccessor } from './token-followers.ts'
import { TokenKnowledge } from './token-knowledge.ts'

export interface VersionDeskOptions {
  readonly store: KeyValueStore
  readonly services: ServicesConfig
  readonly settings: { readonly succession: SuccessionSettings }
  readonly clock: { nowMs(): Millis; schedule(delayMs: number, task: () => void): () => void }
  readonly log: Logger
  /** Routers must hear of the service's state. */
  readonly tell: (service: ManagedService) => void
  /** Have the service reviewed at the end of the turn. */
  readonly touch: (service: ManagedService) => void
  /** Somebody should make sure that this runs. */
  readonly need: (definition: ServiceDefinition, sourceTokens: readonly SourceToken[]) => void
}

/**
 * Everything about services as versions of tokens: which tokens led to them, whether any still does, and which version
 * takes over from which.
 */
export class VersionDesk {
  readonly successions: SuccessionKeeper
  readonly #options: VersionDeskOptions
  readonly #archive: ServiceArchive
  readonly #knowledge: TokenKnowledge
  readonly #followers = new TokenFollowers()
  #isStopped = false

  constructor(options: VersionDeskOptions) {
    this.#options = options
    const { store, log, clock, tell, touch } = options
    this.#archive = new ServiceArchive(store, log)
    this.#knowledge = new TokenKnowledge({
      ...options,
      onChange: token => {
        for (const service of this.#followers.tokenChanged(token)) touch(service)
      },
    })
    this.successions = new SuccessionKeeper({
      settings: options.settings.succession,
      log,
      record: withdrawal => this.#knowledge.withdraw(withdrawal),
      schedule: (delayMs, task) => {
        clock.schedule(delayMs, () => {
          if (!this.#isStopped) task()
        })
      },
      tell,
      touch,
    })
  }

  /** Follows tokens and withdrawals until `stop`. */
  async run(): Promise<void> {
    await this.#knowledge.run()
  }

  stop(): void {
    this.#isStopped = true
    this.#knowledge.stop()
  }

  /** A service was reached through these tokens, or on the fly. */
  addReference(service: ManagedService, sourceTokens: readonly SourceToken[], isNewService: boolean): void {
    const isNews = service.addSourceTokens(sourceTokens)
    if (!isNews && !isNewService) return
    this.#follow(service)
    this.#archive.save(service)
  }

  /** Gives services that run back what was recorded of them. */
  async restore(services: ReadonlyMap<ServiceId, ManagedService>): Promise<void> {
    await this.#archive.restore(services, service => this.#follow(service))
  }

  /** @returns how many instances the successor needs */
  want(request: SuccessionRequest, successor: ManagedService, predecessor: ManagedService): number {
    return this.successions.want(request, successor, predecessor, this.#options.clock.nowMs())
  }

  /** Sees whether tokens still lead to the service. @returns when to look again */
  review(service: ManagedService, nowMs: Millis): Millis {
    const { isChanged, nextMs } = this.#followers.refresh(service, this.#knowledge, nowMs)
    if (isChanged) this.#options.tell(service)
    if (wantsSuccessor(service, nowMs)) {
      const latest = this.#knowledge.latestOf(service)
      if (latest !== undefined && latest.serviceId !== service.id)
        this.#options.need(latest.definition, latest.reference)
    }
    return nextMs
  }

  forget(service: ManagedService): void {
    this.#followers.forget(service)
    this.#archive.remove(service.id)
  }

  /** Has a service that is gone started anew, with all that led to it. */
  needAgain({
    definition,
    id,
    references,
  }: Pick<ManagedService, 'definition' | 'id'> & { references: readonly { sources: readonly SourceToken[] }[] }): void {
    const raw = [{ token: RAW_SERVICE_ID_PREFIX + id, version: '' }]
    const sources = references.length === 0 ? [raw] : references.map(reference => reference.sources)
    for (const tokens of sources) this.#options.need(definition, tokens)
  }

  #follow(service: ManagedService): void {
    this.#followers.add(service, this.#options.clock.nowMs())
    this.#options.touch(service)
  }
}
