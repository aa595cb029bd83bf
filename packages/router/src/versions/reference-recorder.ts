import type { ServiceId } from '@waiter/base'
import type { ReferenceRow } from '@waiter/control'
import type { Descriptor } from '@waiter/services'

/** References remembered as told; beyond that all are forgotten and told again when they are met. */
const REFERENCES_MAX = 20_000

/**
 * Notices in which ways services are reached, and has the leader record what is new (spec §2.9). Costs nothing where a
 * selection is remembered: it is noted when it is made.
 */
export class ReferenceRecorder {
  readonly #rowsByService = new Map<ServiceId, Map<string, ReferenceRow>>()
  #size = 0
  #news: ReferenceRow[] = []
  /** Something is to be collected. */
  onNews: () => void = () => undefined

  note({ serviceId, reference }: Pick<Descriptor, 'serviceId' | 'reference'>): void {
    const key = reference.map(({ token, version }) => `${token}\n${version}`).join('\n\n')
    if (this.#rowsByService.get(serviceId)?.has(key)) return
    if (this.#size >= REFERENCES_MAX) this.#clear()
    const rows = this.#rowsByService.get(serviceId) ?? new Map<string, ReferenceRow>()
    const row = { serviceId, sourceTokens: reference }
    this.#rowsByService.set(serviceId, rows.set(key, row))
    this.#size += 1
    this.#news.push(row)
    this.onNews()
  }

  /** The service is gone, and what was recorded of it: it is told again if it comes back. */
  forget(serviceId: ServiceId): void {
    this.#size -= this.#rowsByService.get(serviceId)?.size ?? 0
    this.#rowsByService.delete(serviceId)
  }

  /** What is new since the last call, or everything for a leader that may know nothing. */
  collect(all: boolean): readonly ReferenceRow[] {
    const news = this.#news
    this.#news = []
    if (!all) return news
    return [...this.#rowsByService.values()].flatMap(rows => [...rows.values()])
  }

  #clear(): void {
    this.#rowsByService.clear()
    this.#size = 0
    this.#news = []
  }
}
