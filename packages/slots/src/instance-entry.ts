import type { InstanceId, Millis } from '@waiter/base'
import type { AssignedInstance, Slot } from './slot.ts'

/** What the machine remembers of one instance; handed out as a `Slot`. */
export class InstanceEntry implements Slot {
  readonly instanceId: InstanceId
  host = ''
  port = 0
  startedAtMs: Millis = 0
  slots = 0
  inUse = 0
  isExpired = false
  isRetired = false
  /** Some of what runs there runs on slots that are not ours. */
  hasAdopted = false
  /** May be granted: assigned, and not ejected unless it is the floor. Whether a slot is free is another matter. */
  isUsable = false

  /** Failures since the last request that went well. */
  consecutiveFailures = 0
  /** Ejections since then, by kind; they set the length of the next one. */
  suspicionCount = 0
  refusalCount = 0
  /** Ends of the two kinds of ejection; 0 when there is none. */
  suspectedUntilMs = 0
  definiteUntilMs = 0

  /** Until when some other router advises against it, and until when enough of them do (rules V1, V2); 0 when none does. */
  doubtedUntilMs = 0
  advisedUntilMs = 0
  /** What was heard until then is refuted: a request went well. */
  acquittedAtMs: number = Number.NEGATIVE_INFINITY

  /** Position in the order of preference, and the picker's own bookkeeping (-1: not listed). */
  rank = 0
  position = -1
  bucket = 0
  /** How long it takes to answer, lately, and the class of that; 0: not known. */
  latencyMs = 0
  latencyClass = 0

  constructor(instanceId: InstanceId) {
    this.instanceId = instanceId
  }

  assign(instance: AssignedInstance): void {
    this.host = instance.host
    this.port = instance.port
    this.startedAtMs = instance.startedAtMs
    this.slots = instance.slots
    this.isExpired = instance.expired === true
    this.isRetired = false
  }

  get isAssigned(): boolean {
    return !this.isRetired && this.slots > 0
  }

  get isEjected(): boolean {
    return this.suspectedUntilMs > 0 || this.definiteUntilMs > 0
  }

  /** Could be granted as far as this router itself knows. */
  get isSound(): boolean {
    return this.isAssigned && !this.isEjected
  }

  /** Granted only when no other instance has a free slot (rule V1). */
  get isDoubted(): boolean {
    return this.doubtedUntilMs > 0
  }

  get freeSlots(): number {
    return this.isUsable && this.inUse < this.slots ? this.slots - this.inUse : 0
  }

  /** When the first of its ejections ends. */
  get nextReadmitMs(): number {
    if (this.suspectedUntilMs === 0) return this.definiteUntilMs
    if (this.definiteUntilMs === 0) return this.suspectedUntilMs
    return Math.min(this.suspectedUntilMs, this.definiteUntilMs)
  }
}

/** `suspected` gives way when nothing else is usable (rule E3); `definite` never does (rule E4). */
export type EjectionKind = 'suspected' | 'definite'
