import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Logger, WaiterError } from '@waiter/base'
import type { NodePorts } from './host.ts'
import type { Members } from './members/open-members.ts'
import type { ChildContext, ControlMember, ControlNews, ControlStart, HostContext } from './process/messages.ts'
import { SupervisedChild } from './process/supervised-child.ts'
import { portOf } from './router-workers.ts'

/** The first leader is there within a second; a machine that does other things as well may take some more. */
const FIRST_LEADER_MS_MAX = 30_000

export interface ControlGroupOptions {
  readonly members: Members
  readonly host: HostContext
  readonly ports: NodePorts
  readonly schedulerDirectory: string
  /** What a control process of this node needs. */
  readonly context: (nodeId: string) => ChildContext
  /** Control processes came or went, or have other addresses. */
  readonly onChange: (members: readonly ControlMember[]) => void
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

/** The control processes of this machine: keeps them alive and lets them find each other. */
export class ControlGroup {
  readonly #options: ControlGroupOptions
  readonly #seats = new Map<number, Seat>()
  readonly #led = Promise.withResolvers<void>()
  /** Who serves as the leader. */
  #leader: number | undefined
  #isStarted = false
  #isStopping = false

  constructor(options: ControlGroupOptions) {
    this.#options = options
    for (const [index, { id, node }] of options.members.file.members.entries())
      this.#seats.set(id, this.#createSeat({ id, nodeId: node, index }))
  }

  /** Those that run, and where. */
  get members(): readonly ControlMember[] {
    return [...this.#seats.values()].flatMap(({ id, nodeId, child }) => {
      const { address, raftAddress } = child.addresses ?? {}
      return address === undefined || raftAddress === undefined
        ? []
        : [{ id, nodeId, hostId: this.#options.host.hostId, grpc: address, raft: raftAddress }]
    })
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

  /**
   * Resolves when one of them serves as the leader.
   *
   * @throws WaiterError WTR_NO_LEADER when none does in time
   */
  async led(): Promise<void> {
    const { promise: tooLate, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(
      () =>
        reject(
          new WaiterError(
            `the control nodes have found no leader within ${FIRST_LEADER_MS_MAX / 1000} s: see their logs for why`,
            { code: 'WTR_NO_LEADER' },
          ),
        ),
      FIRST_LEADER_MS_MAX,
    )
    try {
      await Promise.race([this.#led.promise, tooLate])
    } finally {
      clearTimeout(timer)
    }
  }

  /** Stops all; the last one, the leader if there is one, stops the instances, too. */
  async stop(graceMs: number): Promise<void> {
    this.#isStopping = true
    const seats = [...this.#seats.values()]
    const last = seats.find(({ id }) => id === this.#leader) ?? seats[0]
    await Promise.all(seats.filter(seat => seat !== last).map(({ child }) => child.stop(graceMs)))
    await last?.child.stop(graceMs, true)
  }

  async #kill(): Promise<void> {
    this.#isStopping = true
    await Promise.all([...this.#seats.values()].map(({ child }) => child.stop(0)))
  }

  #createSeat(place: SeatPlace): Seat {
    const { log } = this.#options
    const { id } = place
    const child: SupervisedChild = new SupervisedChild(entry(), () => this.#startOf(place, child), log, {
      onReady: () => {
        if (this.#isStarted) this.#announce()
      },
      onNews: news => this.#onNews(id, news),
      onDeath: () => {
        if (this.#leader === id) this.#leader = undefined
      },
    })
    return { ...place, child }
  }

  #startOf({ id, nodeId, index }: SeatPlace, child: SupervisedChild): ControlStart {
    const { members, schedulerDirectory, context, host, ports } = this.#options
    const { group, 'first-members': firstMembers, 'first-term': firstTerm } = members.file
    const { address, raftAddress } = child.addresses ?? {}
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
        wanted: members.wanted,
      },
      schedulerDirectory,
      // The others know it by its ports.
      bind: { host: host.listen, port: portOf(address) || ports.grpc(index), isFixed: ports.isFixed },
      raftBind: { host: host.listen, port: portOf(raftAddress) || ports.raft(index), isFixed: ports.isFixed },
    }
  }

  #announce(): void {
    const { members } = this
    for (const { child } of this.#seats.values()) child.send({ kind: 'members', members })
    this.#options.onChange(members)
  }

  #onNews(id: number, news: ControlNews): void {
    if (news.kind === 'leadership') {
      if (news.leads) this.#leader = id
      else if (this.#leader === id) this.#leader = undefined
      if (news.leads) this.#led.resolve()
      return
    }
    for (const seat of this.#seats.values()) if (!news.ids.includes(seat.id)) void this.#retire(seat)
  }

  /** The group has let this one go: it has nothing to do any more. */
  async #retire(seat: Seat): Promise<void> {
    const { members, log } = this.#options
    if (this.#isStopping || members.wanted.includes(seat.id)) return
    log.info({ node: seat.nodeId, member: seat.id }, 'a control node has left the group; its process is stopped')
    this.#seats.delete(seat.id)
    const GRACE_MS = 1_000
    await seat.child.stop(GRACE_MS)
    members.forget(seat.id)
    this.#announce()
  }
}

function entry(): string {
  return fileURLToPath(new URL(join('process', 'control-main.ts'), import.meta.url))
}
