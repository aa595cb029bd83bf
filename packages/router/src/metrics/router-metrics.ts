import { Meter } from './meter.ts'

/** Handlers that are counted apart: the API has fewer endpoints than this. */
const HANDLERS_MAX = 200

/** What this router counts that belongs to no service. */
export class RouterMetrics {
  /** Calls of the API by endpoint, for example `get /apps/:id`. */
  readonly apiCalls: Map<string, number> = new Map()
  readonly errors: Meter

  constructor(nowMs: number) {
    this.errors = new Meter(nowMs)
  }

  onApiCall(endpoint: string): void {
    if (!this.apiCalls.has(endpoint) && this.apiCalls.size >= HANDLERS_MAX) return
    this.apiCalls.set(endpoint, (this.apiCalls.get(endpoint) ?? 0) + 1)
  }
}
