import type { Millis, ServiceId } from '@waiter/base'
import type { LeaderLink, SuccessionRequest } from '@waiter/control'
import {
  authorizeRequest,
  type Descriptor,
  type Entitlements,
  type FindWithdrawals,
  findWithdrawal,
  type ResolveInput,
} from '@waiter/services'
import type { Resolution, Selected } from '../request/descriptor-cache.ts'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import type { ServiceTable } from '../services/service-table.ts'
import type { ReferenceRecorder } from './reference-recorder.ts'
import { Rollout, type RolloutState, splitOf, type VersionFacts } from './rollout.ts'
import { SuccessionBook } from './succession-book.ts'
import { type HeaderReader, TrafficSplitter } from './traffic-splitter.ts'

export type { HeaderReader }

const TIMER_MS_MAX = 2 ** 31 - 1

/** What a selection comes to for one requester; kept up to date for as long as it is remembered. */
export interface Choice {
  resolution: Resolution
  /** Asked for each request, if there is one. */
  splitter: TrafficSplitter | undefined
}

export interface VersionChooserOptions {
  readonly table: ServiceTable
  readonly findWithdrawals: FindWithdrawals
  readonly entitlements: Entitlements
  readonly references: ReferenceRecorder
  readonly leader: () => Pick<LeaderLink, 'leader' | 'wantSuccession'> | undefined
  /** Epoch milliseconds: token versions carry such. */
  readonly nowMs: () => Millis
}

/** A choice that follows what happens to the versions among which it was made. */
interface Followed extends Choice {
  readonly rollout: Rollout
  readonly requester: string | undefined
  timer: NodeJS.Timeout | undefined
}

/**
 * Chooses which version of a token serves (spec §2.8 and docs/services.md, Versions). Choosing happens when a selection
 * is seen for the first time, and again when one of the services concerned changes or time demands it; requests only
 * read the outcome.
 */
export class VersionChooser implements VersionFacts {
  readonly successions: SuccessionBook
  /** The version that answered a selection cannot any more; another does now. */
  onChange: (from: Descriptor, to: Descriptor, requester: string | undefined) => void = () => undefined
  readonly #options: VersionChooserOptions
  readonly #followedByService = new Map<ServiceId, Set<Followed>>()
  #count = 0

  constructor(options: VersionChooserOptions) {
    this.#options = options
    this.successions = new SuccessionBook(options)
    options.table.onServiceChange = serviceId => this.#serviceChanged(serviceId)
  }

  /**
   * Chooses for a selection. An outcome that is remembered is kept up to date until `forgetAll`; a refusal never is.
   *
   * @param wanted `isLatest`: what the tokens mean now, whatever answers for it
   */
  choose(
    latest: Descriptor,
    input: ResolveInput,
    { isRemembered, isLatest }: { readonly isRemembered: boolean; readonly isLatest: boolean },
  ): Choice {
    const { requester } = input
    const rollout = isLatest ? undefined : Rollout.of(latest, input, this, this.#options.nowMs())
    const resolution = this.#permit(latest, undefined, requester)
    if (rollout === undefined) {
      if (resolution.ok) this.#options.references.note(latest)
      return { resolution, splitter: undefined }
    }
    // Of a version that this router has not been told of, it cannot know whether it is healthy.
    for (const { serviceId } of rollout.versions) this.#options.table.follow(serviceId)
    const followed: Followed = { rollout, requester, resolution, splitter: undefined, timer: undefined }
    const dueAtMs = this.#update(followed)
    if (!isRemembered || !followed.resolution.ok) return followed
    for (const { serviceId } of rollout.versions) {
      const all = this.#followedByService.get(serviceId) ?? new Set()
      this.#followedByService.set(serviceId, all.add(followed))
    }
    this.#arm(followed, dueAtMs)
    return followed
  }

  /** Whatever was remembered is not any more. */
  forgetAll(): void {
    for (const all of this.#followedByService.values()) for (const { timer } of all) clearTimeout(timer)
    this.#followedByService.clear()
  }

  isHealthy(serviceId: ServiceId): boolean {
    return (this.#options.table.get(serviceId)?.summary?.healthy ?? 0) > 0
  }

  isWithdrawn(version: Descriptor): boolean {
    if (findWithdrawal(version, this.#options.findWithdrawals) !== undefined) return true
    // The leader says so some milliseconds before the store does.
    return this.#summaryOf(version.serviceId)?.successions.some(isWithdrawalOf(version)) ?? false
  }

  isHeldBack(newest: Descriptor, predecessor: Descriptor): boolean {
    const state = this.#summaryOf(newest.serviceId)?.successions.find(
      ({ predecessorId }) => predecessorId === predecessor.serviceId,
    )
    if (state !== undefined) return state.kind === 'pending'
    return this.successions.isAwaitingAnswer(newest.serviceId, predecessor.serviceId)
  }

  #summaryOf(serviceId: ServiceId): ServiceRuntime['summary'] {
    return this.#options.table.get(serviceId)?.summary
  }

  #serviceChanged(serviceId: ServiceId): void {
    for (const followed of this.#followedByService.get(serviceId) ?? []) this.#arm(followed, this.#update(followed))
  }

  /** @returns when time alone changes the outcome */
  #update(followed: Followed): Millis {
    const { rollout, requester } = followed
    const nowMs = this.#options.nowMs()
    const before = rollout.choose(this, nowMs)
    this.#announce(followed, before)
    // What was announced just now is being answered.
    const state = rollout.choose(this, nowMs)
    const { chosen, newest, partner } = state
    const isFallback = chosen !== rollout.versions[0]
    const former = followed.resolution
    followed.resolution = this.#permit(chosen, isFallback ? rollout.versions[0]!.serviceId : undefined, requester)
    followed.splitter = chosen === newest && partner !== undefined ? this.#split(newest, partner, requester) : undefined
    if (followed.resolution.ok) this.#options.references.note(chosen)
    if (former.ok && followed.resolution.ok) this.#leave(former.value, chosen, requester)
    return Math.min(state.choice.untilMs, this.successions.answerDueAtMs(newest.serviceId))
  }

  /** Requests that wait for a version that cannot serve go on to the one that does. */
  #leave(from: Descriptor, to: Descriptor, requester: string | undefined): void {
    if (from === to || from.serviceId === to.serviceId) return
    if (this.isWithdrawn(from) || !this.isHealthy(from.serviceId)) this.onChange(from, to, requester)
  }

  #arm(followed: Followed, dueAtMs: Millis): void {
    clearTimeout(followed.timer)
    if (dueAtMs === Number.POSITIVE_INFINITY) return
    const delayMs = Math.min(TIMER_MS_MAX, Math.max(1, dueAtMs - this.#options.nowMs()))
    followed.timer = setTimeout(() => this.#arm(followed, this.#update(followed)), delayMs).unref()
  }

  /** Has the leader bring the newest version to size while an older one serves. */
  #announce({ rollout, requester }: Followed, { newest, predecessor, choice }: RolloutState): void {
    const { newestChange } = rollout
    if (predecessor === undefined || newestChange === undefined) return
    if (!authorizeRequest(newest, requester, this.#options.entitlements).ok) return
    const request: SuccessionRequest = {
      definition: newest.definition,
      sourceTokens: newest.reference,
      predecessorId: predecessor.serviceId,
      share: (splitOf(newest)?.percent ?? 100) / 100,
      withdrawIfBad: newest.discovery.metadata['withdraw-bad-versions'],
      token: newestChange.token,
      version: newestChange.version,
    }
    const isAnswered = this.#summaryOf(newest.serviceId)?.successions.some(
      state => state.predecessorId === predecessor.serviceId && state.version === request.version,
    )
    this.successions.announce(request, {
      isAnswered: isAnswered ?? false,
      isFalling: choice.reason === 'latest-not-healthy',
    })
  }

  #split(newest: Descriptor, partner: Descriptor, requester: string | undefined): TrafficSplitter | undefined {
    const split = splitOf(newest)
    const [own, other] = [this.#permit(newest, undefined, requester), this.#permit(partner, undefined, requester)]
    if (split === undefined || !own.ok || !other.ok) return undefined
    this.#options.references.note(partner)
    if (!this.isHealthy(partner.serviceId)) {
      // Until it is there, the newest version serves its share.
      this.#options.table.need(this.#options.table.open(partner.definition), partner.reference)
      return undefined
    }
    const token = newest.tokens.map(source => source.token).join(',')
    return new TrafficSplitter({ token, split, newest: own, former: other, nextCount: () => this.#count++ })
  }

  #permit(descriptor: Descriptor, fallbackFrom: ServiceId | undefined, requester: string | undefined): Resolution {
    const permitted = authorizeRequest(descriptor, requester, this.#options.entitlements)
    const selected: Selected = { ok: true, value: descriptor, fallbackFrom, answerHeaders: NO_HEADERS }
    return permitted.ok ? selected : permitted
  }
}

const NO_HEADERS: Selected['answerHeaders'] = []

function isWithdrawalOf({ tokens }: Descriptor) {
  return (state: { readonly kind: string; readonly token: string; readonly version: string }): boolean =>
    state.kind === 'withdrawn' &&
    tokens.some(({ token, version }) => token === state.token && version === state.version)
}
