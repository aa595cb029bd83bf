import type { InstanceId, Prng } from '@waiter/base'
import { type Accusation, Advice } from './advice.ts'
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
 * Invariant: the pickers list exactly the entries with `freeSlots > 0`, and `slotsAvailable` is their sum.
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
  /** Lists the doubted ones instead (rule V1); made when the first is. */
  #lastChoice: Picker | undefined
  readonly #advice: Advice
  /** In the order of preference. */
  #assigned: readonly InstanceEntry[] = []
  /** Assigned and not ejected. */
  #soundCount = 0
  /** Ejected, yet usable because nothing else is (rule E3). */
  #floor: InstanceEntry | undefined
  /** Changes whenever the suspicions of assigned instances may have. */
  suspicionVersion = 0
  slotsAssigned = 0
  slotsInUse = 0
  slotsAvailable = 0
  /** When the next ejection or piece of advice ends; `Infinity` when there is none. */
  nextReadmitMs: number = Number.POSITIVE_INFINITY

  constructor(options: InstancePoolOptions) {
    this.#ejection = options.ejection
    this.#concurrencyLevel = options.concurrencyLevel
    this.#prng = options.prng
    this.#loadBalancing = options.loadBalancing
    this.#picker = createPicker(options.loadBalancing, options.prng)
    this.#advice = new Advice(options.ejection.maxMs)
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
    this.#lastChoice = undefined
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
      this.#assignOne(instance, nowMs)
    }
    for (const entry of this.#entries.values()) {
      if (assigned.has(entry.instanceId)) continue
      if (!entry.isRetired && entry.inUse === 0) idle.push(entry.instanceId)
      entry.isRetired = true
      this.#suspects.delete(entry)
      this.#forgetIfDone(entry)
    }
    if (this.#ejected.size > 0) this.suspicionVersion++
    this.#clearDueEjections(nowMs)
    this.#rebuild()
    return idle
  }

  /** Slots that were taken away while in use are ours again, as many as are in use now. */
  keepInUse(): void {
    let isChanged = false
    for (const entry of this.#entries.values()) {
      const slots = entry.isRetired ? 0 : entry.slots
      if (entry.inUse <= slots || entry.hasAdopted) continue
      entry.slots = entry.inUse
      entry.isRetired = false
      isChanged = true
    }
    if (isChanged) this.#rebuild()
  }

  /** Takes a slot of the best instance that has one. */
  take(): InstanceEntry | undefined {
    const entry = this.#picker.pick() ?? this.#lastChoice?.pick()
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
    const picker = this.#pickerOf(entry)
    if (entry.inUse < entry.slots) picker.touch(entry)
    else picker.remove(entry)
  }

  #pickerOf(entry: InstanceEntry): Picker {
    return entry.isDoubted ? this.#pickerOfDoubted() : this.#picker
  }

  #pickerOfDoubted(): Picker {
    if (this.#lastChoice === undefined) {
      this.#lastChoice = createPicker(this.#loadBalancing, this.#prng)
      this.#lastChoice.reset(this.#assigned)
    }
    return this.#lastChoice
  }

  /** Whether `observe` makes a difference; to whom it does not, nobody need tell. */
  get wantsLatency(): boolean {
    return this.#picker.observe !== undefined
  }

  /** Takes how long the instance took to answer; `Infinity`: it failed. */
  observe(entry: InstanceEntry, latencyMs: number): void {
    const picker = this.#pickerOf(entry)
    if (picker.observe !== undefined && latencyMs >= 0) picker.observe(entry, latencyMs, entry.freeSlots > 0)
  }

  giveBack(entry: InstanceEntry): void {
    entry.inUse--
    this.slotsInUse--
    if (entry.inUse === 0) entry.hasAdopted = false
    if (entry.isUsable) {
      if (entry.inUse >= entry.slots) return
      this.slotsAvailable++
      if (entry.inUse === entry.slots - 1) this.#pickerOf(entry).add(entry)
      else this.#pickerOf(entry).touch(entry)
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
    entry.hasAdopted = true
    entry.inUse++
    this.slotsInUse++
    if (before === 0) return entry
    this.slotsAvailable--
    if (entry.freeSlots > 0) this.#pickerOf(entry).touch(entry)
    else this.#pickerOf(entry).remove(entry)
    return entry
  }

  /** Something went well: the failure history is void. A definite ejection runs out by itself (rule E4). */
  clearFailures(entry: InstanceEntry, nowMs: number): void {
    if (entry.isDoubted) {
      entry.acquittedAtMs = nowMs
      this.#reweigh(entry, nowMs)
    }
    if (entry.consecutiveFailures === 0 && entry.suspectedUntilMs === 0) return
    entry.consecutiveFailures = 0
    entry.suspicionCount = 0
    entry.refusalCount = 0
    if (entry.suspectedUntilMs > 0) this.suspicionVersion++
    entry.suspectedUntilMs = 0
    this.#suspects.delete(entry)
    this.#settle(entry)
  }

  /** Counts a failure and ejects, unless the failure belongs to the incident that ejected the instance already. */
  recordFailure(entry: InstanceEntry, kind: EjectionKind, nowMs: number): void {
    entry.consecutiveFailures++
    if (entry.consecutiveFailures >= this.#ejection.suspectAfterFailures && !entry.isRetired) this.#suspects.add(entry)
    if (entry.isDoubted) this.#reweigh(entry, nowMs)
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

  /** Takes what other routers say of these instances, instead of all they said before (rules V1–V5). */
  advise(accusations: readonly Accusation[], nowMs: number): void {
    this.#advice.replace(accusations)
    for (const entry of this.#entries.values())
      if (entry.isDoubted || this.#advice.concerns(entry.instanceId)) this.#reweigh(entry, nowMs)
  }

  #reweigh(entry: InstanceEntry, nowMs: number): void {
    // Doubt decides which picker lists it.
    if (entry.freeSlots > 0) this.#pickerOf(entry).remove(entry)
    this.#advice.weigh(entry, nowMs)
    if (entry.freeSlots > 0) this.#pickerOf(entry).add(entry)
    if (entry.isSound) this.#setUsable(entry, true)
    this.#settleAdvice()
    this.#settleNextReadmit()
  }

  /** Rule V3: advice is heeded while it takes no more instances than it leaves. */
  #settleAdvice(): void {
    const { doubted } = this.#advice
    if (doubted.size === 0) return
    let advisedCount = 0
    for (const entry of doubted) if (entry.isSound && entry.advisedUntilMs > 0) advisedCount++
    const isHeeded = advisedCount * 2 <= this.#soundCount
    for (const entry of doubted) if (entry.isSound) this.#setUsable(entry, !(isHeeded && entry.advisedUntilMs > 0))
  }

  /** Never shortens an ejection. */
  eject(entry: InstanceEntry, kind: EjectionKind, untilMs: number): void {
    if (kind === 'definite') entry.definiteUntilMs = Math.max(entry.definiteUntilMs, untilMs)
    else {
      entry.suspectedUntilMs = Math.max(entry.suspectedUntilMs, untilMs)
      this.suspicionVersion++
    }
    this.#settle(entry)
  }

  /** Ends ejections whose time has come. */
  readmitDue(nowMs: number): void {
    if (nowMs < this.nextReadmitMs) return
    for (const entry of this.#clearDueEjections(nowMs)) this.#settle(entry)
    if (nowMs >= this.#advice.nextEndMs) for (const entry of [...this.#advice.doubted]) this.#reweigh(entry, nowMs)
  }

  #assignOne(instance: AssignedInstance, nowMs: number): void {
    let entry = this.#entries.get(instance.instanceId)
    if (entry === undefined) {
      entry = new InstanceEntry(instance.instanceId)
      this.#entries.set(instance.instanceId, entry)
    }
    entry.assign(instance)
    entry.slots = Math.min(entry.slots, this.#concurrencyLevel)
    if (entry.consecutiveFailures >= this.#ejection.suspectAfterFailures) this.#suspects.add(entry)
    // Everything is listed anew after this.
    if (this.#advice.concerns(entry.instanceId)) this.#advice.weigh(entry, nowMs)
  }

  /** A retired entry is kept while requests run there, and while an ejection is worth remembering. */
  #forgetIfDone(entry: InstanceEntry): void {
    if (!entry.isRetired || entry.inUse > 0 || entry.isEjected) return
    this.#entries.delete(entry.instanceId)
    this.#advice.doubted.delete(entry)
  }

  #clearDueEjections(nowMs: number): readonly InstanceEntry[] {
    const changed: InstanceEntry[] = []
    for (const entry of this.#ejected) {
      if (entry.nextReadmitMs > nowMs) continue
      if (entry.suspectedUntilMs <= nowMs) entry.suspectedUntilMs = 0
      if (entry.definiteUntilMs <= nowMs) entry.definiteUntilMs = 0
      changed.push(entry)
    }
    if (changed.length > 0) this.suspicionVersion++
    return changed
  }

  /** Brings everything derived in line after ejections of this entry changed. */
  #settle(entry: InstanceEntry): void {
    const wasSound = entry.isAssigned && !this.#ejected.has(entry)
    if (entry.isEjected) this.#ejected.add(entry)
    else this.#ejected.delete(entry)
    const { isSound } = entry
    this.#soundCount += Number(isSound) - Number(wasSound)
    this.#setUsable(entry, isSound || (entry === this.#floor && entry.definiteUntilMs === 0))
    this.#settleFloor()
    this.#settleAdvice()
    this.#settleNextReadmit()
    this.#forgetIfDone(entry)
  }

  #settleNextReadmit(): void {
    let next = this.#advice.nextEndMs
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
    if (after > 0) this.#pickerOf(entry).add(entry)
    else this.#pickerOf(entry).remove(entry)
  }

  /** Deals ranks anew and lists everything free; O(n log n), only on a new assignment. */
  #rebuild(): void {
    const assigned = [...this.#entries.values()].filter(entry => entry.isAssigned)
    assigned.sort((a, b) => compareByPreference(this.#loadBalancing, a, b))
    assigned.forEach((entry, rank) => {
      entry.rank = rank
    })
    this.#assigned = assigned
    this.#picker.reset(assigned)
    this.#lastChoice?.reset(assigned)
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
    this.#settleAdvice()
    this.#settleNextReadmit()
  }
}
