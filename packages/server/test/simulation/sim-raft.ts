import type { Prng, Term } from '@waiter/base'
import { MemoryStorage, type Message, type RaftOptions, RawNode } from 'raft-ts'
import type { SimNetwork } from './sim-network.ts'
import type { SimProcess } from './sim-time.ts'

/** About as in production: heartbeats every 200 ms, a new leader after half a second to a second without. */
const TICK_MS = 100
const RAFT = { electionTicks: 5, heartbeatTicks: 2 }

/** One member of the group of control nodes: the real state machine of raft-ts, whose disk outlives its process. */
export class SimRaft {
  readonly id: number
  readonly #options: Partial<RaftOptions>
  readonly #storage: MemoryStorage
  readonly #random: Prng
  readonly #network: SimNetwork
  readonly #group: readonly SimRaft[]
  readonly #listeners = new Set<() => void>()
  process: SimProcess | undefined
  #node: RawNode | undefined
  term: Term = 0
  /** 0: nobody, as far as it knows. */
  leader = 0
  leads = false

  constructor(
    id: number,
    group: readonly SimRaft[],
    network: SimNetwork,
    random: Prng,
    options: Partial<RaftOptions> = {},
  ) {
    this.#options = options
    const conf = { voters: [1, 2, 3], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }
    this.id = id
    this.#group = group
    this.#network = network
    this.#random = random
    this.#storage = new MemoryStorage({ conf })
  }

  start(process: SimProcess): void {
    this.process = process
    this.#node = new RawNode({ id: this.id, random: this.#random, ...RAFT, ...this.#options }, this.#storage)
    this.#listeners.clear()
    this.#look()
    this.#tickLater(process)
  }

  stop(): void {
    this.#node = undefined
    this.leads = false
    this.leader = 0
    this.#listeners.clear()
  }

  /** Whether a write of this member would be agreed on now. */
  get canCommit(): boolean {
    const { process } = this
    if (!this.leads || process === undefined) return false
    const others = this.#group.filter(({ process: other }) => {
      if (other === undefined || other === process || !other.isAlive || other.isPaused) return false
      return !this.#network.isCut(process.host, other.host) && !this.#network.isCut(other.host, process.host)
    })
    return others.filter(({ term }) => term <= this.term).length >= 1
  }

  /** Calls the listener when who leads, or in which term, has changed. @returns what ends that */
  onNews(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #tickLater(process: SimProcess): void {
    process.clock.schedule(TICK_MS, () => {
      if (process !== this.process) return
      this.#node?.tick()
      this.#work()
      this.#tickLater(process)
    })
  }

  #work(): void {
    const node = this.#node
    if (!node?.hasReady()) return
    while (node.hasReady()) {
      const ready = node.ready()
      this.#send(ready.messages)
      this.#storage.append(ready.entries)
      if (ready.hardState !== undefined) this.#storage.setHardState(ready.hardState)
      this.#send(ready.messagesAfterAppend)
      node.advance()
    }
    if (this.#look()) for (const listener of [...this.#listeners]) listener()
  }

  /** @returns true when who leads, or the term, has changed */
  #look(): boolean {
    if (this.#node === undefined) return false
    const { hardState, leader, role } = this.#node.status()
    const isSame = this.term === hardState.term && this.leader === leader && this.leads === (role === 'leader')
    this.term = hardState.term
    this.leader = leader
    this.leads = role === 'leader'
    return !isSame
  }

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      const to = this.#group[message.to - 1]
      const target = to?.process
      if (to === undefined || target === undefined || this.process === undefined) continue
      this.#network.send(this.process, target, () => {
        if (to.process !== target) return
        to.#node?.step(message)
        to.#work()
      })
    }
  }
}
