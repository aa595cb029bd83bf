import { createPrng, type Prng } from '@waiter/base'
import {
  type Applied,
  encodeCommand,
  type KeyValueCommand,
  type NodeId,
  type WriteCommand,
} from '../../../src/index.ts'
import type { ClientOperation } from '../../../src/node/chaos/client.ts'
import { judge, type Verdict } from '../../../src/node/chaos/judge.ts'
import { LedgeredMap, type LedgerLine } from '../../../src/node/chaos/ledger.ts'
import { openWal, RaftNode, RaftNodeError, type Ticker } from '../../../src/node/index.ts'
import { FaultDisk, type Loss } from './fault-disk.ts'
import { MemoryNetwork } from './memory-network.ts'

const IDS: readonly NodeId[] = [1, 2, 3]
const TICK_MS = 100
const KEYS = 5
const CLIENTS = 4
const ATTEMPTS_MAX = 6
const REQUEST_MS = 1500
const LOSSES: readonly Loss[] = [
  'everything unsynced is lost',
  'any part is lost',
  'nothing is lost',
  'the power stayed on',
]
/** Ticks within which healed nodes must be equal and have written. */
const HEAL_TICKS_MAX = 400

interface Member {
  readonly id: NodeId
  readonly disk: FaultDisk
  node: RaftNode<Applied> | undefined
  machine: LedgeredMap | undefined
  isStarting: boolean
  life: number
  tick: () => void
  release: (() => void) | undefined
  /** Rejects when this life ends: connections to it break. */
  death: PromiseWithResolvers<never>
}

/** One client's session. */
interface Client {
  name: number
  session: number
  sequence: number
  hint: NodeId
  isBusy: boolean
  readonly versions: Map<string, number>
}

/**
 * The real driver and the real write-ahead log over a disk, a network and a clock that are not: everything that happens
 * is drawn from one seed and moves by turns of the event loop, so that a seed is a life that can be lived again.
 */
export class DriverWorld {
  readonly ledgers: { readonly member: number; readonly lines: LedgerLine[] }[] = []
  readonly operations: ClientOperation[] = []
  readonly events: string[] = []
  readonly #random: Prng
  readonly #network = new MemoryNetwork()
  readonly #members: readonly Member[]
  readonly #clients: readonly Client[]
  readonly #failures: unknown[] = []
  #salt = 0
  #now = 0
  #isHealed = false

  constructor(seed: number) {
    this.#random = createPrng(seed)
    this.#members = IDS.map(id => {
      const tick = (): void => undefined
      return {
        id,
        disk: new FaultDisk(),
        node: undefined,
        machine: undefined,
        isStarting: false,
        life: 0,
        tick,
        release: undefined,
        death: newDeath(),
      }
    })
    this.#clients = Array.from({ length: CLIENTS }, (_, at) => {
      return { name: at + 1, session: 0, sequence: 0, hint: 0, isBusy: false, versions: new Map() }
    })
  }

  async live(steps: number): Promise<Verdict> {
    for (const member of this.#members) await this.#start(member)
    for (let step = 0; step < steps; step++) {
      this.#act()
      await this.#turns(1 + this.#random.below(6))
      if (this.#failures.length > 0) throw this.#failures[0]
    }
    await this.#heal()
    const dumps = this.#members.map(({ id, machine }) => {
      const entries = machine!.map.list('').map(({ key, version, value }) => [key, version, value] as const)
      return { member: id, applied: machine!.map.applied, digest: machine!.map.digest, entries }
    })
    const { ledgers, operations } = this
    await Promise.all(this.#members.map(({ node }) => node!.stop()))
    return judge({ ledgers, operations, dumps })
  }

  #act(): void {
    const draw = this.#random.next()
    const member = this.#members[this.#random.below(3)]!
    if (draw < 0.5) this.#tickAll()
    else if (draw < 0.91) this.#clientActs()
    else if (draw < 0.95) member.tick()
    else this.#disturb(member)
  }

  // Of all that goes wrong, one thing.
  #disturb(member: Member): void {
    const { id, disk, node } = member
    const kind = this.#random.below(9)
    this.events.push(`${this.#now} ${kind} ${id}`)
    if (kind === 0) this.#crash(member)
    else if (kind <= 3) this.#restartCrashed()
    else if (kind === 4)
      this.#network.isolate(
        id,
        IDS.filter(other => other !== id),
      )
    else if (kind === 5) this.#network.heal()
    else if (kind === 6) this.#stall(member)
    else if (kind === 7 && node !== undefined)
      disk.failAt = { call: disk.calls + 1 + this.#random.below(6), code: 'ENOSPC' }
    else if (kind === 8)
      node?.transferLeader(IDS[this.#random.below(3)]!, { timeoutMs: REQUEST_MS }).catch(() => undefined)
  }

  #stall(member: Member): void {
    if (member.release !== undefined) {
      member.release()
      member.release = undefined
      member.disk.syncGate = undefined
      return
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    member.disk.syncGate = promise
    member.release = resolve
  }

  #crash(member: Member): void {
    if (member.node === undefined && !member.isStarting) return
    member.life++
    member.isStarting = false
    member.death.reject(new RaftNodeError('The connection broke.', { code: 'RAFT_STOPPED' }))
    member.death = newDeath()
    member.disk.crash()
    member.node = undefined
    member.machine = undefined
    member.release = undefined
    member.tick = () => undefined
    this.#network.drop(member.id)
    member.disk.restart(LOSSES[this.#random.below(LOSSES.length)]!, createPrng(this.#random.below(2 ** 31)))
  }

  #restartCrashed(): void {
    for (const member of this.#members) {
      if (member.node === undefined && !member.isStarting)
        this.#own(this.#start(member).catch(error => this.#onStartFailed(member, error)))
    }
  }

  async #start(member: Member): Promise<void> {
    const { id, disk } = member
    const life = ++member.life
    member.isStarting = true
    const lines: LedgerLine[] = []
    this.ledgers.push({ member: id, lines })
    // A process that is gone writes nothing down any more.
    const ledger = {
      write: (line: LedgerLine): unknown => member.life === life && lines.push(line),
      close: () => undefined,
    }
    const machine = new LedgeredMap(ledger, true)
    const ticker: Ticker = { tickMs: TICK_MS, start: onTick => this.#ticks(member, life, onTick) }
    const newSalt = (): number => ++this.#salt
    const storage = await openWal({ directory: '/raft', fileSystem: disk.open(), segmentBytesMax: 600, newSalt })
    const node = await RaftNode.start({
      id,
      storage,
      transport: this.#network.transport(id),
      machine,
      ticker,
      bootstrap: IDS,
      raft: { random: createPrng(id * 1000 + life) },
      incarnation: String(life),
      limits: { snapshotEveryEntries: 12, trailingEntries: 3, snapshotStallTimeoutMs: 1000 },
      onEvent: event => {
        if (event.kind !== 'core' || event.event.kind !== 'roleChanged' || event.event.role !== 'leader') return
        ledger.write({ kind: 'led', term: event.event.term })
      },
    })
    if (member.life !== life) return
    member.isStarting = false
    member.node = node
    member.machine = machine
    const ended = node.ended.then(error => {
      // A disk that refused ends the node; it comes back when there is room.
      if (error !== undefined && member.life === life && member.node === node) this.#onFailed(member, error)
    })
    this.#own(ended)
  }

  // The disk was full already when it came back.
  #onStartFailed(member: Member, error: unknown): void {
    if (
      (error as { code?: string }).code !== 'ENOSPC' &&
      !(error instanceof RaftNodeError && error.code === 'RAFT_LOG_FAILED')
    )
      throw error
    member.disk.failAt = undefined
    this.#crash(member)
  }

  #onFailed(member: Member, error: RaftNodeError): void {
    if (error.code !== 'RAFT_LOG_FAILED') throw error
    member.disk.failAt = undefined
    this.#crash(member)
  }

  #ticks(member: Member, life: number, onTick: () => void): () => void {
    member.tick = () => member.life === life && onTick()
    return () => {
      if (member.life === life) member.tick = () => undefined
    }
  }

  #tickAll(): void {
    for (const { tick } of this.#members) tick()
  }

  #clientActs(): void {
    const idle = this.#clients.filter(({ isBusy }) => !isBusy)
    const client = idle[this.#random.below(Math.max(1, idle.length))]
    if (client === undefined) return
    client.isBusy = true
    const isRead = client.session !== 0 && this.#random.next() < 0.4
    const key = `k${this.#random.below(KEYS)}`
    const work =
      client.session === 0 ? this.#openSession(client) : isRead ? this.#read(client, key) : this.#write(client, key)
    this.#own(work.then(() => this.#rest(client)))
  }

  #rest(client: Client): void {
    client.isBusy = false
  }

  /** A failure that nobody expected ends the run. */
  #own(work: Promise<void>): void {
    work.catch(error => this.#failures.push(error))
  }

  async #openSession(client: Client): Promise<void> {
    const reply = await this.#propose(client, { kind: 'openSession' })
    if (reply?.kind !== 'opened') return
    client.session = reply.session
    client.sequence = 0
  }

  async #read(client: Client, key: string): Promise<void> {
    const invokeMs = this.#now
    const member = this.#members[this.#random.below(3)]!
    const { node, machine, life } = member
    if (node === undefined || machine === undefined) return
    const reading = Promise.race([node.read({ timeoutMs: REQUEST_MS }), member.death.promise])
    const isServed = await reading.then(
      () => member.life === life,
      () => false,
    )
    if (!isServed) return
    const entry = machine.map.get(key)
    const version = entry?.version ?? 0
    client.versions.set(key, version)
    const action = { kind: 'read', version, value: entry?.value, index: machine.map.applied } as const
    this.operations.push({ client: client.name, key, invokeMs, returnMs: this.#now, action })
  }

  async #write(client: Client, key: string): Promise<void> {
    const invokeMs = this.#now
    const sequence = ++client.sequence
    const expected = this.#random.next() < 0.5 ? (client.versions.get(key) ?? 0) : undefined
    const value = this.#random.next() < 0.1 ? undefined : `${client.name}.${sequence}`
    const { session } = client
    const command: WriteCommand = { kind: 'write', session, sequence, firstPending: sequence, key, expected, value }
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      const result = await this.#propose(client, command)
      const told = { client: client.name, key, invokeMs, returnMs: this.#now }
      if (result?.kind === 'written') {
        client.versions.set(key, value === undefined ? 0 : result.version)
        this.operations.push({ ...told, action: { kind: 'write', command, version: result.version } })
        return
      }
      if (result?.kind === 'conflict') {
        const current = attempt === 1 ? (result.current?.version ?? 0) : undefined
        client.versions.set(key, result.current?.version ?? 0)
        this.operations.push({ ...told, action: { kind: 'conflict', command, current } })
        return
      }
      if (result !== undefined) break
    }
    this.operations.push({
      client: client.name,
      key,
      invokeMs,
      returnMs: undefined,
      action: { kind: 'unknown', command },
    })
    client.name += 100
    client.session = 0
  }

  /** What it came to; undefined: refused, or nobody knows. */
  async #propose(client: Client, command: KeyValueCommand) {
    const chosen = this.#members[this.#random.below(3)]!
    const member = this.#members.find(({ id }) => id === client.hint) ?? chosen
    const { life, node } = member
    try {
      if (node === undefined) throw new RaftNodeError('down', { code: 'RAFT_STOPPED' })
      const proposing = node.propose(encodeCommand(command), { timeoutMs: REQUEST_MS })
      const { result } = await Promise.race([proposing, member.death.promise])
      if (member.life !== life || member.node !== node) return undefined
      client.hint = member.id
      return result.result
    } catch (error) {
      client.hint = error instanceof RaftNodeError ? error.leader : 0
      // A while passes before the next attempt.
      await this.#turns(3)
      return undefined
    }
  }

  async #heal(): Promise<void> {
    this.#isHealed = true
    this.#network.heal()
    for (const member of this.#members) {
      if (member.release !== undefined) this.#stall(member)
      member.disk.failAt = undefined
    }
    for (let ticks = 0; ticks < HEAL_TICKS_MAX; ticks++) {
      this.#restartCrashed()
      this.#tickAll()
      await this.#turns(30)
      if (ticks > 30 && this.#clients.every(({ isBusy }) => !isBusy) && (await this.#isEqual())) return
    }
    throw new Error(`not equal and idle ${HEAL_TICKS_MAX} ticks after everything was healed: ${this.#describe()}`)
  }

  #describe(): string {
    const members = this.#members.map(({ id, node, machine, disk, isStarting }) => {
      const state = `${node?.role ?? 'down'} leader ${node?.leader} applied ${machine?.map.applied}`
      return `${id} ${state}${isStarting ? ' starting' : ''}${disk.busy > 0 ? ' disk busy' : ''}`
    })
    const busy = this.#clients.filter(({ isBusy }) => isBusy).map(({ name }) => name)
    return `${members.join('; ')}; busy clients ${busy.join(' ')}; last ${this.events.slice(-6).join(', ')}`
  }

  async #isEqual(): Promise<boolean> {
    const leader = this.#members.find(({ node }) => node?.role === 'leader')
    if (leader === undefined || !this.#isHealed) return false
    // One more write must go through.
    const fresh = await this.#propose({ ...this.#clients[0]!, hint: leader.id }, { kind: 'openSession' })
    for (let ticks = 0; ticks < 5; ticks++) {
      this.#tickAll()
      await this.#turns(20)
    }
    const states = this.#members.map(({ machine }) => `${machine?.map.applied} ${machine?.map.digest}`)
    return fresh?.kind === 'opened' && new Set(states).size === 1
  }

  async #turns(count: number): Promise<void> {
    for (let turn = 0; turn < count; turn++) {
      this.#now++
      await new Promise<void>(resolve => setImmediate(resolve))
    }
  }
}

function newDeath(): PromiseWithResolvers<never> {
  const death = Promise.withResolvers<never>()
  // Whoever waits is told; perhaps nobody does.
  death.promise.catch(() => undefined)
  return death
}
