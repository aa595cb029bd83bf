import { LogHistogram } from './log-histogram.ts'
import { Meter } from './meter.ts'

const US_PER_MS = 1_000
/** Statuses of one service that are told apart; a backend can send 500 different ones, and one counter each. */
const STATUSES_MAX = 64

/** Errors that Waiter itself answers with for reasons of the service (spec §9.1 `response-rate.error`). */
export type ErrorReason = 'suspended' | 'queue-length' | 'deployment-error'

/** What one router measures of one service, beside the counts of its requests. Everything here is cheap to update. */
export class ServiceMetrics {
  readonly requestRate: Meter
  readonly statuses: Map<number, number> = new Map()
  readonly errors: Map<ErrorReason, Meter> = new Map()
  /** From the request's head to the end of the answer (µs). */
  readonly process: LogHistogram = new LogHistogram()
  /** From the request's head to a slot (µs). */
  readonly getInstance: LogHistogram = new LogHistogram()
  /** From the slot to the head of the answer (µs). */
  readonly backendResponse: LogHistogram = new LogHistogram()
  queueTimeouts = 0

  constructor(nowMs: number) {
    this.requestRate = new Meter(nowMs)
  }

  onRequest(nowMs: number): void {
    this.requestRate.mark(nowMs)
  }

  onGranted(waitedMs: number): void {
    this.getInstance.record(waitedMs * US_PER_MS)
  }

  onAnswered(tookMs: number): void {
    this.backendResponse.record(tookMs * US_PER_MS)
  }

  onEnd(tookMs: number): void {
    this.process.record(tookMs * US_PER_MS)
  }

  onStatus(status: number): void {
    const count = this.statuses.get(status)
    if (count === undefined && this.statuses.size >= STATUSES_MAX) return
    this.statuses.set(status, (count ?? 0) + 1)
  }

  onError(reason: ErrorReason, nowMs: number): void {
    let meter = this.errors.get(reason)
    if (meter === undefined) {
      meter = new Meter(nowMs)
      this.errors.set(reason, meter)
    }
    meter.mark(nowMs)
  }
}
