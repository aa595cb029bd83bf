import type { Logger, Term } from '@waiter/base'
import {
  type ClusterNode,
  createClusterHandlers,
  createCoordinatorHandlers,
  Leader,
  type LeaderSettings,
  notLeader,
} from '@waiter/control'
import { DEFAULT_SCALE_LIMITS, DEFAULT_TAKEOVER, type ScalingPolicy, waiterPolicy } from '@waiter/scaling'
import { createServicesConfig, DEFAULT_JUDGE } from '@waiter/services'
import { type KeyValueStore, storeUnavailable } from '@waiter/store'
import { Leadership, type Reign } from '../../src/control/leadership.ts'
import type { SimRaft } from './sim-raft.ts'
import { SimProcess } from './sim-time.ts'
import type { World } from './world.ts'

export const SETTINGS: LeaderSettings = {
  decisionFloorMs: 100,
  decisionIntervalMs: 1_000,
  routerDeadAfterMs: 5_000,
  // What runs is never cut off for being slow: then every kill must find its instance idle.
  drainTimeoutMs: 1e12,
  settleMs: 5_000,
  killGraceMsMin: 3_000,
  suspectAfterFailures: 1_000,
  deploymentError: { minFailedInstances: 1_000, minHosts: 1_000 },
  brokenService: { timeoutMins: 1_000, minHosts: 1_000 },
  limits: DEFAULT_SCALE_LIMITS,
  succession: { takeover: DEFAULT_TAKEOVER, judge: DEFAULT_JUDGE, probationMs: 600_000, holdMs: 60_000 },
}

interface LeaderReign extends Reign {
  readonly leader: Leader
}

/** A control node: a member of the raft group, and the leader while it leads that. */
export class SimControl {
  readonly name: string
  readonly raft: SimRaft
  readonly #world: World
  process: SimProcess
  #leadership!: Leadership<LeaderReign>
  /** When the leader that runs here now began. */
  reign: { readonly term: Term; readonly startedAtMs: number } | undefined

  constructor(world: World, raft: SimRaft) {
    this.#world = world
    this.raft = raft
    this.name = `c${raft.id}`
    this.process = new SimProcess(world.time, this.name, this.name)
    this.start()
  }

  get isAlive(): boolean {
    return this.process.isAlive
  }

  /** Leads, and says so to routers. */
  get leads(): boolean {
    return this.isAlive && this.raft.leads && this.#leadership.current !== undefined
  }

  start(): void {
    const process = new SimProcess(this.#world.time, this.name, this.name)
    this.process = process
    this.raft.start(process)
    const { log } = this.#world
    this.#leadership = new Leadership<LeaderReign>({
      begin: (term, signal) => this.#begin(process, term, signal),
      onChange: () => undefined,
      pause: ms => process.delay(ms),
      log,
    })
    const leadership = this.#leadership
    this.raft.onNews(() => leadership.set(this.raft.leads ? this.raft.term : undefined))
    this.#listen(process, log)
  }

  crash(): void {
    const { process } = this
    process.end()
    this.raft.stop()
    this.reign = undefined
    this.#world.scheduler.endWatchesOf(process)
    this.#world.network.ended(process)
  }

  #listen(process: SimProcess, log: Logger): void {
    const leadership = this.#leadership
    const current = (): Leader => {
      const leader = leadership.current?.leader
      if (leader === undefined || !this.raft.leads) throw notLeader('')
      return leader
    }
    const coordinator = createCoordinatorHandlers(current, log)
    const cluster = createClusterHandlers(this.#clusterNode(), log)
    this.#world.network.listen(this.name, {
      process,
      serve: (kind, call, stream) => {
        if (kind === 'attach') {
          this.#world.watchAttach(this, call, stream)
          coordinator.attach(call as never)
        } else if (kind === 'watchLeader') cluster.watchLeader(call as never)
      },
    })
  }

  #clusterNode(): ClusterNode {
    const unused = (): never => {
      throw new Error('nobody calls this in the simulation')
    }
    return {
      leaderNews: () => {
        const { leader, term } = this.raft
        const name = leader === 0 ? '' : `c${leader}`
        return { term, leaderId: name, address: name, members: [], membersVersion: 0 }
      },
      onLeaderNews: listener => this.raft.onNews(listener),
      announce: unused,
      join: unused,
      leave: unused,
      propose: unused,
      members: unused,
      transferLeader: unused,
    }
  }

  /** As the control process does: the scheduler is claimed first, then the leader runs. */
  async #begin(process: SimProcess, term: Term, signal: AbortSignal): Promise<LeaderReign> {
    const { scheduler, mutant, store } = this.#world
    if (mutant?.isUnclaimed !== true) await scheduler.claim(process, { term })
    const leader = new Leader({
      leaderId: this.name,
      term,
      scheduler: scheduler.portFor(process),
      store: this.#storeFor(process, store),
      services: createServicesConfig(),
      policy: waiterPolicy as ScalingPolicy,
      settings: { ...SETTINGS, ...mutant?.settings },
      clock: process.clock,
      log: this.#world.leaderLog(this),
    })
    this.reign = { term, startedAtMs: this.#world.time.nowMs }
    this.#world.checks.reignBegan(term)
    const halt = (): void => leader.stop()
    const running = leader.run()
    const aborted = new Promise<void>(resolve => {
      const onAbort = (): void => {
        halt()
        resolve()
      }
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
    })
    await Promise.race([leader.listed, aborted])
    return { leader, halt, ended: async () => await running }
  }

  /** The group's store: it answers as long as this member could have the group agree. */
  #storeFor(process: SimProcess, store: KeyValueStore): KeyValueStore {
    // As `RaftStore` does: what this member cannot have agreed on, it forwards to the next leader, and after some time gives up.
    const agree = async (): Promise<void> => {
      const STORE_PATIENCE_MS = 3_000
      const STORE_RETRY_MS = 50
      const untilMs = this.#world.time.nowMs + STORE_PATIENCE_MS
      for (;;) {
        await process.delay(this.#world.network.latencyMs())
        if (this.raft.canCommit) return
        const leader = this.#world.controls.find(({ raft }) => raft.id === this.raft.leader)
        const isReached = leader !== undefined && !this.#world.network.isCut(this.name, leader.name)
        if (isReached && !leader.process.isPaused && leader.isAlive && leader.raft.canCommit) return
        if (this.#world.time.nowMs >= untilMs) throw storeUnavailable('The group does not agree.')
        await process.delay(STORE_RETRY_MS)
      }
    }
    const { isForgetful = false, isUnforgetting = false } = this.#world.mutant ?? {}
    return {
      get: async key => {
        await agree()
        return await store.get(key)
      },
      compareAndSet: async (key, expected, value) => {
        await agree()
        if (isUnforgetting && value === undefined) return { kind: 'written', version: expected }
        return await store.compareAndSet(key, expected, value)
      },
      list: async function* (prefix) {
        await agree()
        if (!isForgetful) yield* store.list(prefix)
      },
      watch: (prefix, signal) => store.watch(prefix, signal),
      close: () => Promise.resolve(),
    }
  }
}
