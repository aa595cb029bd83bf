import type { InstanceId, Logger, RouterId, ServiceId } from '@waiter/base'
import type { PeerChange } from '@waiter/control'
import type { MemberId } from '@waiter/gossip'
import type { Accusation } from '@waiter/slots'
import type { ServiceRuntime } from '../services/service-runtime.ts'
import { AdviceBoard } from './advice-board.ts'
import type { GossipMember, MemberChange } from './gossip-member.ts'
import { MemberLog } from './member-log.ts'
import {
  ABOUT_KEY,
  type AboutRouter,
  chooseLoads,
  EJECTED_PREFIX,
  ejectedKey,
  LOAD_PREFIX,
  LOOP_KEY,
  parseAbout,
  renderAbout,
  renderLoad,
  renderObservation,
  roundLoopDelay,
} from './row.ts'

export interface RouterGossipSettings {
  /** How often the own load is told, when it has changed. */
  readonly loadIntervalMs: number
  /** Of so many services, those with the most to do. */
  readonly loadServicesMax: number
  /** Tell which instances this router leaves alone, and hear it from others. */
  readonly sharesEjections: boolean
}

export interface RouterGossipOptions {
  readonly settings: RouterGossipSettings
  /** The services of this router. */
  readonly table: {
    values(): Iterable<ServiceRuntime>
    get(id: ServiceId): ServiceRuntime | undefined
  }
  readonly nowMs: () => number
  readonly log: Logger
}

/** Instances that one row accuses; with more, the rest is kept to oneself. */
const SHARED_MAX = 256
/** An ejection that is over before the others hear of it is not worth telling. */
const SHARED_MS_MIN = 500
/** The delay of the event loop is told every so many times that load is. */
const LOOP_EVERY = 10
/** Routers to look for when they do not gossip with us. */
const SEEDS_MAX = 1_024

interface Shared {
  readonly untilMs: number
}

/**
 * What a router tells the others of itself in its row, and does with what they tell: who is there, how much there is to
 * do, which instances fail. Advice and figures for people; a router without gossip serves as well.
 */
export class RouterGossip {
  readonly advice: AdviceBoard = new AdviceBoard()
  readonly #options: RouterGossipOptions
  readonly #memberLog: MemberLog
  readonly #seeds = new Map<RouterId, string>()
  readonly #shared = new Map<ServiceId, ReadonlyMap<InstanceId, Shared>>()
  #sharedCount = 0
  #ejections = 0
  /** Ejections that were not told: too many, or the row is full. */
  unshared = 0
  #about: AboutRouter | undefined
  #loads = new Set<ServiceId>()
  #rounds = 0
  #member: GossipMember | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: RouterGossipOptions) {
    this.#options = options
    this.#memberLog = new MemberLog(options.log, options.nowMs)
  }

  /** Its place in the group; undefined while it has none. */
  get member(): GossipMember | undefined {
    return this.#member
  }

  /** It has a place in the group from now on. */
  join(member: GossipMember): void {
    this.#member = member
    member.setSeeds([...this.#seeds.values()])
    if (this.#about !== undefined) member.set(ABOUT_KEY, renderAbout(this.#about))
    this.#shared.clear()
    this.#sharedCount = 0
    this.#loads.clear()
    this.#rounds = 0
    for (const runtime of this.#options.table.values()) this.noteSuspicions(runtime)
    this.#tellLoad()
    clearInterval(this.#timer)
    this.#timer = setInterval(() => this.#tellLoad(), this.#options.settings.loadIntervalMs)
    this.#timer.unref()
  }

  /** It has no place any more: what others said does not hold, and nothing is told. */
  quit(): void {
    const ids = this.#member?.members().map(({ id }) => id) ?? []
    this.#member = undefined
    clearInterval(this.#timer)
    for (const id of ids) this.#hear(id)
  }

  /** What it is, known once it listens. */
  introduce(about: AboutRouter): void {
    this.#about = about
    this.#member?.set(ABOUT_KEY, renderAbout(about))
  }

  /** The leader says which routers there are: who is missing among the members is looked for there. */
  applyPeers({ isFull, peers, dead }: PeerChange): void {
    if (isFull) this.#seeds.clear()
    for (const { routerId, gossipAddress } of peers)
      if (gossipAddress && this.#seeds.size < SEEDS_MAX) this.#seeds.set(routerId, gossipAddress)
    for (const routerId of dead) this.#seeds.delete(routerId)
    this.#member?.setSeeds([...this.#seeds.values()])
  }

  onMember(change: MemberChange): void {
    this.#memberLog.tell(change)
    // A suspect's row holds until it is dead.
    if (change.state !== 'suspect') this.#hear(change.id)
  }

  onRow(id: MemberId): void {
    this.#hear(id)
  }

  /** Whether this very router process is there, as far as gossip knows: one that is only doubted counts. */
  hears(routerId: RouterId): boolean {
    const member = this.#member
    if (member === undefined) return false
    return member
      .members()
      .some(({ id, state }) => (state === 'alive' || state === 'suspect') && aboutOf(member, id)?.routerId === routerId)
  }

  /** What others say against instances of a service. */
  adviceOn(serviceId: ServiceId): readonly Accusation[] {
    return this.advice.against(serviceId)
  }

  /** Which instances this router leaves alone has changed. */
  noteSuspicions(runtime: ServiceRuntime): void {
    if (this.#member === undefined || !this.#options.settings.sharesEjections) return
    this.#share(this.#member, runtime.id, runtime.machine.suspicions())
  }

  #share(
    member: GossipMember,
    serviceId: ServiceId,
    suspicions: ReturnType<ServiceRuntime['machine']['suspicions']>,
  ): void {
    const nowMs = this.#options.nowMs()
    const before = this.#shared.get(serviceId)
    const now = new Map<InstanceId, Shared>()
    for (const { instanceId, untilMs, consecutiveFailures: failures } of suspicions) {
      const leftMs = Math.round(untilMs - nowMs)
      if (leftMs < SHARED_MS_MIN) continue
      const known = before?.get(instanceId)
      if (known?.untilMs === untilMs) {
        now.set(instanceId, known)
        continue
      }
      const hasRoom = known !== undefined || this.#sharedCount - (before?.size ?? 0) + now.size < SHARED_MAX
      const value = renderObservation({ serviceId, failures, ejection: ++this.#ejections })
      if (hasRoom && member.set(ejectedKey(instanceId), value, leftMs)) now.set(instanceId, { untilMs })
      else this.unshared++
    }
    for (const instanceId of before?.keys() ?? []) if (!now.has(instanceId)) member.delete(ejectedKey(instanceId))
    this.#sharedCount += now.size - (before?.size ?? 0)
    if (now.size === 0) this.#shared.delete(serviceId)
    else this.#shared.set(serviceId, now)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#member = undefined
  }

  #hear(from: MemberId): void {
    const { settings, nowMs, table } = this.#options
    if (!settings.sharesEjections) return
    const entries = this.#member?.entries(from, EJECTED_PREFIX) ?? []
    const accuser = entries.length === 0 ? from : (aboutOf(this.#member, from)?.nodeId ?? from)
    const changed = this.advice.hear(from, accuser, { entries, nowMs: nowMs() })
    for (const serviceId of changed) table.get(serviceId)?.advise(this.advice.against(serviceId))
  }

  /** Only what has changed travels, so that this costs next to nothing at rest. */
  #tellLoad(): void {
    const member = this.#member
    if (member === undefined) return
    const { table, settings } = this.#options
    for (const serviceId of this.#shared.keys())
      if (table.get(serviceId) === undefined) this.#share(member, serviceId, [])
    const loads = new Set<ServiceId>()
    for (const { serviceId, ...load } of chooseLoads(loadsOf(table.values()), settings.loadServicesMax))
      if (member.set(LOAD_PREFIX + serviceId, renderLoad(load))) loads.add(serviceId)
    for (const serviceId of this.#loads) if (!loads.has(serviceId)) member.delete(LOAD_PREFIX + serviceId)
    this.#loads = loads
    if (this.#rounds++ % LOOP_EVERY > 0) return
    member.set(LOOP_KEY, String(roundLoopDelay(member.status().loopDelayP99Ms)))
  }
}

/** What a member says it is. */
export function aboutOf(member: GossipMember | undefined, id: MemberId): AboutRouter | undefined {
  return parseAbout(member?.entries(id, ABOUT_KEY)[0]?.value)
}

function* loadsOf(runtimes: Iterable<ServiceRuntime>) {
  for (const { id: serviceId, counts, machine } of runtimes)
    if (counts.outstanding > 0) yield { serviceId, outstanding: counts.outstanding, waiting: machine.waiting }
}
