import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Logger, WaiterError } from '@waiter/base'
import type { NodePorts } from './host.ts'
import type { KnownControls } from './members/known-controls.ts'
import type { Members } from './members/open-members.ts'
import { controlEngineFlags } from './process/control-engine-flags.ts'
import type { ChildContext, ChildNews, ControlMember, ControlStart, HostContext } from './process/messages.ts'
import { SupervisedChild } from './process/supervised-child.ts'
import { portOf } from './router-workers.ts'

/** The first leader is there within a second; a machine that does other things as well may take some more. */
const FIRST_LEADER_MS_MAX = 30_000
/** A member that was let go has nothing to finish. */
const RETIRE_GRACE_MS = 1_000

export interface ControlGroupOptions {
  readonly members: Members
  readonly known: KnownControls
  readonly host: HostContext
  readonly ports: NodePorts
  readonly schedulerDirectory: string
  /** What a control process of this node needs. */
  readonly context: (nodeId: string) => ChildContext
  /** Control processes came or went, or have other addresses. */
  readonly onChange: (members: readonly ControlMember[]) => void
  /** The group has let this node go. Its control process ends when that resolves. */
  readonly onRemoved: (nodeId: string) => Promise<void>
  /** That has ended. */
  readonly onRetired: () => void
  readonly log: Logger
}

/** One control process. */
interface Seat extends SeatPlace {
  readonly child: SupervisedChild
}

interface SeatPlace {
  readonly id: number
  readonly nodeId: string
  /** Which of the host's, from 0. */
  readonly index: number
}

/** The control processes of this host: keeps them alive and lets them find each other, and those of other hosts. */
export class ControlGroup {
  readonly #options: ControlGroupOptions
  readonly #seats = new Map<number, Seat>()
  readonly #retiring = new Set<number>()
  readonly #led = Promise.withResolvers<void>()
  readonly #settled = Promise.withResolvers<void>()
  /** This host is to be left. */
  #drains = false
  #isDeparting = false
  #departed = Promise.withResolvers<string>()
  /** Who serves as the leader. */
  #leader: number | undefined
  #isStarted = false
  #isStopping = false

  constructor(options: ControlGroupOptions) {
    this.#options = options
    for (const { id, node } of options.members.file.members) this.#createSeat(id, node)
  }

  /** Those that run here, and where; and those of other hosts, as far as is known. */
  get members(): readonly ControlMember[] {
    const { hostId } = this.#options.host
    const own = [...this.#seats.values()].flatMap(({ id, nodeId, child }) => {
      const { address, raftAddress, sinceMs = 0 } = child.addresses ?? {}
      return address === undefined || raftAddress === undefined
        ? []
        : [{ id, nodeId, hostId, grpc: address, raft: raftAddress, sinceMs }]
    })
    return [...own, ...this.#options.known.others(hostId)]
  }

  /** Whether nothing can be decided without other hosts. */
  get hasOthers(): boolean {
    return this.#options.known.others(this.#options.host.hostId).length > 0
  }

  get isEmpty(): boolean {
    return this.#seats.size === 0
  }

  pidOf(nodeId: string): number | undefined {
    return [...this.#seats.values()].find(seat => seat.nodeId === nodeId)?.child.pid
  }

  /**
   * Starts all; resolves when they can be called. The first leader comes a moment later.
   *
   * @throws WaiterError what one of them could not do, with the mend; none is left running then
   */
  async start(): Promise<void> {
    try {
      await Promise.all([...this.#seats.values()].map(({ child }) => child.start()))
    } catch (error) {
      await this.#kill()
      throw error
    }
    this.#options.members.haveStarted()
    this.#isStarted = true
    this.#announce()
  }

  /** Starts one more: the group has given it this id. */
  async add(id: number, nodeId: string): Promise<void> {
    const { members } = this.#options
    members.add(id, nodeId)
    await this.#createSeat(id, nodeId).child.start()
    members.haveStarted()
    this.#announce()
  }

  /**
   * Resolves when one of them, or of another host, serves as the leader; where others have a say, after a while also
   * without: it may take as long as they are away.
   *
   * @throws WaiterError WTR_NO_LEADER when none does in time
   */
  async led(): Promise<void> {
    if (this.isEmpty) return
    const { promise: tooLate, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      if (this.hasOthers) {
        this.#options.log.warn({}, 'no leader yet: most control nodes must run, on whatever hosts')
        this.#led.resolve()
      } else
        reject(
          new WaiterError(
            `the control nodes have found no leader within ${FIRST_LEADER_MS_MAX / 1000} s: see their logs for why`,
            { code: 'WTR_NO_LEADER' },
          ),
        )
    }, FIRST_LEADER_MS_MAX)
    try {
      await Promise.race([this.#led.promise, tooLate])
    } finally {
      clearTimeout(timer)
    }
  }

  /** Everything of this host has started: from now on members that were let go may end. */
  settle(): void {
    this.#settled.resolve()
  }

  /** Stops all; the last one, the leader if there is one, stops the instances, too. */
  async stop(graceMs: number): Promise<void> {
    this.#isStopping = true
    const seats = [...this.#seats.values()]
    const last = seats.find(({ id }) => id === this.#leader) ?? seats[0]
    await Promise.all(seats.filter(seat => seat !== last).map(({ child }) => child.stop(graceMs)))
    await last?.child.stop(graceMs, true)
  }

  /** This host is to be left, or not any more: the leader has what it runs started elsewhere. */
  drain(drains: boolean): void {
    // What stops does not go on because a router of it has just been started anew.
    if (drains === this.#drains || (this.#isDeparting && !drains)) return
    this.#drains = drains
    this.#departed = Promise.withResolvers()
    for (const { child } of this.#seats.values()) child.send({ kind: 'drain', drains })
  }

  /** Has what runs here started elsewhere. @returns why there is nothing to wait for any longer; `too-late` after that time */
  async depart(msMax: number): Promise<string> {
    this.drain(true)
    this.#isDeparting = true
    const { promise: tooLate, resolve } = Promise.withResolvers<string>()
    const timer = setTimeout(() => resolve('too-late'), msMax)
    try {
      return await Promise.race([this.#departed.promise, tooLate])
    } finally {
      clearTimeout(timer)
    }
  }

  /** A child of this host says where all control nodes are. */
  hear(members: readonly ControlMember[], version: number): void {
    if (this.#options.known.take(members, version)) this.#announce()
  }

  async #kill(): Promise<void> {
    this.#isStopping = true
    await Promise.all([...this.#seats.values()].map(({ child }) => child.stop(0)))
  }

  #createSeat(id: number, nodeId: string): Seat {
    const { log } = this.#options
    const taken = new Set([...this.#seats.values()].map(({ index }) => index))
    let index = 0
    while (taken.has(index)) index += 1
    const place: SeatPlace = { id, nodeId, index }
    const child: SupervisedChild = new SupervisedChild(entry(), () => this.#startOf(place, child), log, {
      engineFlags: controlEngineFlags([...process.execArgv, process.env['NODE_OPTIONS'] ?? '']),
      onReady: () => {
        if (this.#isStarted) this.#announce()
        if (this.#drains) child.send({ kind: 'drain', drains: true })
      },
      onNews: news => this.#onNews(id, news),
      onDeath: () => {
        if (this.#leader === id) this.#leader = undefined
      },
    })
    const seat = { ...place, child }
    this.#seats.set(id, seat)
    return seat
  }

  #startOf({ id, nodeId, index }: SeatPlace, child: SupervisedChild): ControlStart {
    const { members, known, schedulerDirectory, context, host, ports } = this.#options
    const { group, 'first-members': firstMembers, 'first-term': firstTerm, 'next-id': nextId } = members.file
    const { address, raftAddress } = child.addresses ?? known.all.map(toAddresses).find(one => one.id === id) ?? {}
    return {
      kind: 'start-control',
      ...context(nodeId),
      raft: {
        id,
        group,
        directory: members.directoryOf(id),
        firstMembers,
        firstTerm,
        firstStateFile: members.firstStateFile,
        nextId,
      },
      known: known.all,
      schedulerDirectory,
      // The others know it by its ports.
      bind: { host: host.listen, port: ports.grpc(index) || portOf(address), isFixed: ports.isFixed },
      raftBind: { host: host.listen, port: ports.raft(index) || portOf(raftAddress), isFixed: ports.isFixed },
    }
  }

  #announce(): void {
    const { members } = this
    for (const { child } of this.#seats.values()) child.send({ kind: 'members', members })
    this.#options.onChange(members)
  }

  #onNews(id: number, news: ChildNews): void {
    switch (news.kind) {
      case 'leadership':
        if (news.leads) this.#leader = id
        else if (this.#leader === id) this.#leader = undefined
        if (news.leads) this.#led.resolve()
        return
      case 'led-elsewhere':
        this.#led.resolve()
        return
      case 'controls':
        this.hear(news.members, news.version)
        return
      case 'departed':
        this.#departed.resolve(news.why)
        return
      case 'drains':
        return
      case 'removed': {
        this.#led.resolve()
        const seat = this.#seats.get(id)
        if (seat !== undefined) void this.#retire(seat)
      }
    }
  }

  /** The group has let this one go: it has nothing to do any more. */
  async #retire(seat: Seat): Promise<void> {
    const { members, log, onRemoved } = this.#options
    if (this.#isStopping || this.#retiring.has(seat.id)) return
    this.#retiring.add(seat.id)
    log.info({ node: seat.nodeId, member: seat.id }, 'a control node has left the group; its process is stopped')
    await this.#settled.promise
    await onRemoved(seat.nodeId)
    const isLast = this.#seats.size === 1
    await seat.child.stop(RETIRE_GRACE_MS, isLast)
    this.#seats.delete(seat.id)
    members.forget(seat.id)
    this.#announce()
    this.#options.onRetired()
  }
}

function toAddresses({ id, grpc, raft }: ControlMember) {
  return { id, address: grpc, raftAddress: raft }
}

function entry(): string {
  return fileURLToPath(new URL(join('process', 'control-main.ts'), import.meta.url))
}
