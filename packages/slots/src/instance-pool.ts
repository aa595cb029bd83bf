import type { InstanceId, Prng } from '@waiter/base'
import type { BorrowedInstance } from './borrow-types.ts'
import { type EjectionKind, InstanceEntry } from './instance-entry.ts'
import { compareByPreference, createPicker, type Picker } from './picker.ts'
import type { AssignedInstance, EjectionConfig, LoadBalancing } from './slot.ts'

/** The back-off of suspicions doubles at most this often (spec §5.6). */
const SUSPICION_DOUBLINGS_MAX = 4
/** Far beyond any sensible `connectMaxMs`; keeps the power finite. */
const REFUSAL_DOUBLINGS_MAX = 16

export interface InstancePoolOptions {
  readonly loadBalancing: LoadBalancing
  readonly concurrencyLevel: number
  readonly ejection: EjectionConfig
  readonly prng: Prng
}

/**
 * The instances a router may use, which of them have a free slot, and which are left alone for a while.
 *
 * Invariant: the picker lists exactly the entries with `freeSlots > 0`, and `slotsAvailable` is their sum.
 */
export class InstancePool {
  readonly #entries: Map<InstanceId, InstanceEntry> = new Map()
  readonly #ejected: Set<InstanceEntry> = new Set()
  readonly #suspects: Set<InstanceEntry> = new Set()
  readonly #ejection: EjectionConfig
  #concurrencyLevel: number
  readonly #prng: Prng
  #loadBalancing: LoadBalancing
  #picker: Picker
  /** Assigned and not ejected. */
  #soundCount = 0
  /** Ejected, yet usable because nothing else is (rule E3). */
  #floor: InstanceEntry | undefined
  slotsAssigned = 0
  slotsInUse = 0
  slotsAvailable = 0
  /** When the next ejection ends; `Infinity` when there is none. */
  nextReadmitMs: number = Number.POSITIVE_INFINITY

  constructor(options: InstancePoolOptions) {
    this.#ejection = options.ejection
    this.#concurrencyLevel = options.concurrencyLevel
    this.#prng = options.prng
    this.#loadBalancing = options.loadBalancing
    this.#picker = createPicker(options.loadBalancing, options.prng)
  }

  /** Every entry still remembered, in the order of first sight. */
  get entries(): ReadonlyMap<InstanceId, InstanceEntry> {
    return this.#entries
  }

  get ejected(): ReadonlySet<InstanceEntry> {
    return this.#ejected
  }

  get suspects(): ReadonlySet<InstanceEntry> {
    return this.#suspects
  }

  setLoadBalancing(loadBalancing: LoadBalancing): void {
    if (loadBalancing === this.#loadBalancing) return
    this.#loadBalancing = loadBalancing
    this.#picker = createPicker(loadBalancing, this.#prng)
    this.#rebuild()
  }

  /** Holds for the next assignment: until then instances keep the slots that they have. */
  setConcurrencyLevel(concurrencyLevel: number): void {
    this.#concurrencyLevel = concurrencyLevel
  }

  /** Takes a new assignment; answers the instances that are newly gone from it and idle already. */
  assign(assignment: readonly AssignedInstance[], nowMs: number): readonly InstanceId[] {
    const idle: InstanceId[] = []
    const assigned = new Set<InstanceId>()
    for (const instance of assignment) {
      assigned.add(instance.instanceId)
      this.#assignOne(instance)
    }
    for (const entry of this.#entries.values()) {
      if (assigned.has(entry.instanceId)) continue
      if (!entry.isRetired && entry.inUse === 0) idle.push(entry.instanceId)
      entry.isRetired = true
      this.#suspects.delete(entry)
      this.#forgetIfDone(entry)
    }
    this.#clearDueEjections(nowMs)
    this.#rebuild()
    return idle
  }

  /** Takes a slot of the best instance that has one. */
  take(): InstanceEntry | undefined {
    const entry = this.#picker.pick()
    if (entry !== undefined) this.#use(entry)
    return entry
  }

  /** Takes a slot of this instance; false when it has none that a request could get. */
  takeFrom(entry: InstanceEntry): boolean {
    if (entry.freeSlots === 0) return false
    this.#use(entry)
    return true
  }

  #use(entry: InstanceEntry): void {
    entry.inUse++
    this.slotsInUse++
    this.slotsAvailable--
    if (entry.inUse < entry.slots) this.#picker.touch(entry)
    else this.#picker.remove(entry)
  }

  giveBack(entry: InstanceEntry): void {
    entry.inUse--
    this.slotsInUse--
    if (entry.isUsable) {
      if (entry.inUse >= entry.slots) return
      this.slotsAvailable++
      if (entry.inUse === entry.slots - 1) this.#picker.add(entry)
      else this.#picker.touch(entry)
    } else if (entry.isRetired) {
      this.#forgetIfDone(entry)
    }
  }

  /** Counts a request that runs there on a slot of somebody else's, as if the slot were ours; ended by `giveBack`. */
  adopt(instance: BorrowedInstance): InstanceEntry {
    let entry = this.#entries.get(instance.instanceId)
    if (entry === undefined) {
      entry = new InstanceEntry(instance.instanceId)
      entry.assign({ ...instance, slots: 0 })
      entry.isRetired = true
      this.#entries.set(instance.instanceId, entry)
    }
    const before = entry.freeSlots
    entry.inUse++
    this.slotsInUse++
    if (before === 0) return entry
    this.slotsAvailable--
    if (entry.freeSlots > 0) this.#picker.touch(entry)
    else this.#picker.remove(entry)
    return entry
  }

  /** Something went well: the failure history is void. A definite ejection runs out by itself (rule E4). */
  clearFailures(entry: InstanceEntry): void {
    if (entry.consecutiveFailures === 0 && entry.suspectedUntilMs === 0) return
    entry.consecutiveFailures = 0
    entry.suspicionCount = 0
    entry.refusalCount = 0
    entry.suspectedUntilMs = 0
    this.#suspects.delete(entry)
    this.#settle(entry)
  }

  /** Counts a failure and ejects, unless the failure belongs to the incident that ejected the instance already. */
  recordFailure(entry: InstanceEntry, kind: EjectionKind, nowMs: number): void {
    entry.consecutiveFailures++
    if (entry.consecutiveFailures >= this.#ejection.suspectAfterFailures && !entry.isRetired) this.#suspects.add(entry)
    if (kind === 'definite') {
      if (entry.definiteUntilMs > 0) return
      const doublings = Math.min(REFUSAL_DOUBLINGS_MAX, entry.refusalCount++)
      this.eject(
        entry,
        kind,
        nowMs + Math.min(this.#ejection.connectMaxMs, this.#ejection.connectBaseMs * 2 ** doublings),
      )
    } else {
      if (entry.isEjected && !entry.isUsable) return
      const doublings = Math.min(SUSPICION_DOUBLINGS_MAX, entry.suspicionCount++)
      this.eject(entry, kind, nowMs + Math.min(this.#ejection.maxMs, this.#ejection.baseMs * 2 ** doublings))
    }
  }

  /** Never shortens an ejection. */
  eject(entry: InstanceEntry, kind: EjectionKind, untilMs: number): void {
    if (kind === 'definite') entry.definiteUntilMs = Math.max(entry.definiteUntilMs, untilMs)
    else entry.suspectedUntilMs = Math.max(entry.suspectedUntilMs, untilMs)
    this.#settle(entry)
  }

  /** Ends ejections whose time has come. */
  readmitDue(nowMs: number): void {
    if (nowMs < this.nextReadmitMs) return
    for (const entry of this.#clearDueEjections(nowMs)) this.#settle(entry)
  }

  #assignOne(instance: AssignedInstance): void {
    let entry = this.#entries.get(instance.instanceId)
    if (entry === undefined) {
      entry = new InstanceEntry(instance.instanceId)
      this.#entries.set(instance.instanceId, entry)
    }
    entry.assign(instance)
    entry.slots = Math.min(entry.slots, this.#concurrencyLevel)
    if (entry.consecutiveFailures >= this.#ejection.suspectAfterFailures) this.#suspects.add(entry)
  }

  /** A retired entry is kept while requests run there, and while an ejection is worth remembering. */
  #forgetIfDone(entry: InstanceEntry): void {
    if (entry.isRetired && entry.inUse === 0 && !entry.isEjected) this.#entries.delete(entry.instanceId)
  }

  #clearDueEjections(nowMs: number): readonly InstanceEntry[] {
    const changed: InstanceEntry[] = []
    for (const entry of this.#ejected) {
      if (entry.nextReadmitMs > nowMs) continue
      if (entry.suspectedUntilMs <= nowMs) entry.suspectedUntilMs = 0
      if (entry.definiteUntilMs <= nowMs) entry.definiteUntilMs = 0
      changed.push(entry)
    }
    return changed
  }

  /** Brings everything derived in line after ejections of this entry changed. */
  #settle(entry: InstanceEntry): void {
    const wasSound = entry.isAssigned && !this.#ejected.has(entry)
    if (entry.isEjected) this.#ejected.add(entry)
    else this.#ejected.delete(entry)
    const isSound = entry.isAssigned && !entry.isEjected
    this.#soundCount += Number(isSound) - Number(wasSound)
    this.#setUsable(entry, isSound || (entry === this.#floor && entry.definiteUntilMs === 0))
    this.#settleFloor()
    this.#settleNextReadmit()
    this.#forgetIfDone(entry)
  }

  #settleNextReadmit(): void {
    let next = Number.POSITIVE_INFINITY
    for (const entry of this.#ejected) next = Math.min(next, entry.nextReadmitMs)
    this.nextReadmitMs = next
  }

  /** Only looks at ejected entries, and only when nothing is sound: rare, so a scan is good enough. */
  #settleFloor(): void {
    const floor = this.#soundCount > 0 ? undefined : this.#chooseFloor()
    const previous = this.#floor
    if (floor === previous) return
    this.#floor = floor
    if (previous?.isEjected) this.#setUsable(previous, false)
    if (floor !== undefined) this.#setUsable(floor, true)
  }

  #chooseFloor(): InstanceEntry | undefined {
    let floor: InstanceEntry | undefined
    for (const entry of this.#ejected) {
      if (!entry.isAssigned || entry.definiteUntilMs > 0) continue
      const difference = floor === undefined ? -1 : entry.suspectedUntilMs - floor.suspectedUntilMs
      if (difference < 0 || (difference === 0 && entry.rank < floor!.rank)) floor = entry
    }
    return floor
  }

  #setUsable(entry: InstanceEntry, isUsable: boolean): void {
    const before = entry.freeSlots
    entry.isUsable = isUsable
    const after = entry.freeSlots
    if (before === after) return
    this.slotsAvailable += after - before
    if (after > 0) this.#picker.add(entry)
    else this.#picker.remove(entry)
  }

  /** Deals ranks anew and lists everything free; O(n log n), only on a new assignment. */
  #rebuild(): void {
    const assigned = [...this.#entries.values()].filter(entry => entry.isAssigned)
    assigned.sort((a, b) => compareByPreference(this.#loadBalancing, a, b))
    assigned.forEach((entry, rank) => {
      entry.rank = rank
    })
    this.#picker.reset(assigned)
    this.#floor = undefined
    this.#soundCount = 0
    this.slotsAssigned = 0
    this.slotsAvailable = 0
    for (const entry of this.#entries.values()) {
      entry.isUsable = false
      if (entry.isEjected) this.#ejected.add(entry)
      else this.#ejected.delete(entry)
      this.#forgetIfDone(entry)
    }
    for (const entry of assigned) {
      this.slotsAssigned += entry.slots
      if (entry.isEjected) continue
      this.#soundCount++
      this.#setUsable(entry, true)
    }
    this.#settleFloor()
    this.#settleNextReadmit()
  }
}
