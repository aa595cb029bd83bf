import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Cluster } from './cluster.ts'
import type { Load, Round } from './load.ts'
import type { NodeProcessOptions, NodeProcessReport } from './node-process.ts'
import { freePorts } from './ports.ts'

const IDS = [1, 2, 3] as const
/** A member that has not started or found a leader by then never will. */
const WAIT_MS_MAX = 20_000

/** How the members run. */
export interface RaftTsClusterOptions {
  readonly directory: string
  readonly transport: 'grpc' | 'tcp'
  readonly tickMs: number
  readonly electionTicks: number
}

interface Member {
  readonly options: NodeProcessOptions
  process: ChildProcess
  leader: number
  onRound: (round: Round) => void
}

/** Three processes of raft-ts. */
export class RaftTsCluster implements Cluster {
  readonly name: string
  readonly #members = new Map<number, Member>()
  #onReport: () => void = () => undefined

  private constructor(options: RaftTsClusterOptions) {
    this.name = `raft-ts (${options.transport})`
  }

  static async start(options: RaftTsClusterOptions): Promise<RaftTsCluster> {
    const cluster = new RaftTsCluster(options)
    const ports = await freePorts(2 * IDS.length)
    const raftPorts = Object.fromEntries(IDS.map((id, at) => [id, ports[at]!]))
    const started = IDS.map((id, at) => {
      const clientPort = ports[IDS.length + at]!
      const directory = join(options.directory, `raft-ts-${id}`)
      return cluster.#spawn({ ...options, id, directory, clientPort, ports: raftPorts })
    })
    await Promise.all(started)
    await cluster.leaderAddress()
    return cluster
  }

  async leaderAddress(): Promise<string> {
    const id = await this.#leader()
    return `127.0.0.1:${this.#members.get(id)!.options.clientPort}`
  }

  /** The same load, proposed inside of the leader's process: how a library is used. */
  async writeInside(load: Load): Promise<Round> {
    const member = this.#members.get(await this.#leader())!
    const { promise, resolve } = Promise.withResolvers<Round>()
    member.onRound = resolve
    member.process.send(load)
    return promise
  }

  /** SIGKILL for the leader. Returns it, and when, in milliseconds since the epoch. */
  async killLeader(): Promise<{ readonly id: number; readonly atMs: number }> {
    const id = await this.#leader()
    const member = this.#members.get(id)!
    const exited = once(member.process, 'exit')
    const atMs = performance.timeOrigin + performance.now()
    member.process.kill('SIGKILL')
    for (const other of this.#members.values()) other.leader = 0
    await exited
    return { id, atMs }
  }

  async restart(id: number): Promise<void> {
    await this.#spawn(this.#members.get(id)!.options)
    await this.#until('everybody follows', () => this.#agreed() !== 0)
  }

  async stop(): Promise<void> {
    const exits = [...this.#members.values()].map(async ({ process }) => {
      if (process.exitCode !== null || process.signalCode !== null) return
      const exited = once(process, 'exit')
      process.kill('SIGTERM')
      await exited
    })
    await Promise.all(exits)
  }

  async #leader(): Promise<number> {
    await this.#until('somebody leads', () => this.#self() !== 0)
    return this.#self()
  }

  /** Who says of itself that it leads, and nobody alive disagrees. */
  #self(): number {
    for (const [id, { leader, process }] of this.#members) {
      if (leader === id && process.exitCode === null && process.signalCode === null) return id
    }
    return 0
  }

  #agreed(): number {
    const leaders = new Set([...this.#members.values()].map(({ leader }) => leader))
    return leaders.size === 1 ? [...leaders][0]! : 0
  }

  async #until(what: string, holds: () => boolean): Promise<void> {
    const deadline = performance.now() + WAIT_MS_MAX
    while (!holds()) {
      if (performance.now() > deadline) throw new Error(`raft-ts: still not after ${WAIT_MS_MAX} ms: ${what}`)
      const timer = setTimeout(() => this.#onReport(), 100)
      await new Promise<void>(resolve => (this.#onReport = resolve))
      clearTimeout(timer)
    }
  }

  async #spawn(options: NodeProcessOptions): Promise<void> {
    const path = new URL('node-process.ts', import.meta.url)
    const process = fork(path, [JSON.stringify(options)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    const member: Member = { options, process, leader: 0, onRound: () => undefined }
    this.#members.set(options.id, member)
    const { promise, resolve } = Promise.withResolvers<void>()
    process.on('message', (report: NodeProcessReport) => {
      if (report.kind === 'leader') member.leader = report.leader
      else if (report.kind === 'started') resolve()
      else if (report.kind === 'load') member.onRound(report.round)
      else if (report.why !== 'stopped') globalThis.process.stderr.write(`raft-ts node ${options.id}: ${report.why}\n`)
      this.#onReport()
    })
    await promise
  }
}
