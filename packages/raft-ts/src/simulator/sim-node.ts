import { assert, type Prng } from '@waiter/base'
import { decodeCommand } from '../kv/command.ts'
import { type Applied, KeyValueMachine } from '../kv/key-value-machine.ts'
import type { Message } from '../message.ts'
import { RawNode } from '../raw-node.ts'
import type { Ready } from '../ready.ts'
import type { ConfState, Entry, LogIndex, NodeId, Snapshot } from '../types.ts'
import { EMPTY_CONF, NO_DATA } from '../types.ts'
import { ageImage } from './age-image.ts'
import type { ClientReply, ClientRequest } from './client-protocol.ts'
import { SimDisk } from './sim-disk.ts'
import { SimStorage } from './sim-storage.ts'
import type { World } from './world.ts'

interface Waiter {
  readonly term: number
  readonly reply: (reply: ClientReply) => void
}

interface WaitingRead {
  readonly key: string
  readonly reply: (reply: ClientReply) => void
  /** Committed anywhere when the read was asked for: what it must at least see. */
  readonly floor: LogIndex
  index: LogIndex | undefined
}

/** One simulated process: the driver around a `RawNode`, its disk and its state machine, with every wait an event. */
export class SimNode {
  readonly id: NodeId
  readonly disk: SimDisk
  readonly #world: World
  readonly #random: Prng
  incarnation = 0
  isUp = false
  /** Its disk is gone: this id never comes back. */
  isGone = false
  pausedUntilMs = 0
  stalledUntilMs = 0
  /** The next sync fails. */
  failsNextSync = false
  tickMs: number
  raw!: RawNode
  machine!: KeyValueMachine
  conf: ConfState = EMPTY_CONF
  #storage!: SimStorage
  #inFlight: Ready | undefined
  #waiters = new Map<LogIndex, Waiter[]>()
  #reads = new Map<string, WaitingRead>()
  #readCounter = 0

  constructor(world: World, id: NodeId, conf: ConfState) {
    this.#world = world
    this.id = id
    this.#random = world.fork(`node ${id}`)
    this.tickMs = world.profile.tickMs
    this.disk = new SimDisk(world.driverRules, firstSnapshot(conf))
  }

  start(): void {
    assert(!this.isUp && !this.isGone, `node ${this.id} cannot start`)
    this.incarnation++
    this.isUp = true
    this.pausedUntilMs = 0
    this.failsNextSync = false
    this.#inFlight = undefined
    this.#waiters = new Map()
    this.#reads = new Map()
    this.#recoverMachine()
    const { hardState, snapshot, entries } = this.disk
    this.#storage = new SimStorage({ hardState, conf: this.conf, snapshot, entries }, () => this.takeSnapshot())
    this.raw = new RawNode(
      {
        ...this.#world.profile.settings,
        id: this.id,
        random: this.#world.fork(`election ${this.id} ${this.incarnation}`),
        applied: this.machine.applied,
        rules: this.#world.rules,
        trace: event => {
          if (event.kind === 'campaigned' && !event.isPreVote) this.#world.checker.onCampaign(event.term)
        },
      },
      this.#storage,
    )
    this.#world.checker.onRestart(this)
    this.#scheduleTick()
    this.#afterInput()
  }

  /** Power loss: memory is gone, and of the running write a prefix survives. */
  crash(): void {
    if (!this.isUp) return
    this.isUp = false
    this.disk.crash(this.#random, { canTear: this.#world.profile.enabled.has('tornWrite') })
    if (this.#world.profile.isMachineDurable && this.machine.applied > 0) {
      const bytes = ageImage(this.machine.encode(), this.#world.driverRules.appliedIndexLag)
      this.disk.machine = { bytes, conf: this.conf }
    }
  }

  receive(message: Message): void {
    this.raw.step(message)
    this.#afterInput()
  }

  /** Runs an operator's request or a report on the core. */
  request(run: (raw: RawNode) => void): void {
    if (!this.isUp) return
    run(this.raw)
    this.#afterInput()
  }

  onClientRequest(request: ClientRequest, reply: (reply: ClientReply) => void): void {
    if (request.kind === 'read') this.#onRead(request.key, reply)
    else {
      const outcome = this.raw.propose(request.data)
      if (outcome.kind === 'appended') {
        const waiters = this.#waiters.get(outcome.index) ?? []
        waiters.push({ term: outcome.term, reply })
        this.#waiters.set(outcome.index, waiters)
      } else if (outcome.kind === 'dropped') reply({ kind: 'failed', leader: outcome.leader })
    }
    this.#afterInput()
  }

  /** The state machine as of now, for a follower that is too far behind. */
  takeSnapshot(): Snapshot | undefined {
    const index = this.machine.applied
    const term = index === this.disk.snapshot.index ? this.disk.snapshot.term : this.#storage.term(index)
    if (index === 0 || term === undefined) return undefined
    return { index, term, conf: this.conf, data: this.machine.encode() }
  }

  /** Saves a snapshot and forgets the log before it, but for some trailing entries. */
  compact(trailingEntries: number): void {
    if (!this.isUp || this.disk.isWriting) return
    const snapshot = this.takeSnapshot()
    if (snapshot === undefined || snapshot.index <= this.disk.snapshot.index) return
    const through = Math.max(0, snapshot.index - trailingEntries)
    this.disk.compact(snapshot, through)
    this.#storage.saveSnapshot(snapshot.index, snapshot.conf, snapshot.data)
    this.#storage.compact(through)
    this.#world.check(this)
  }

  #recoverMachine(): void {
    const { machine: image, snapshot } = this.disk
    const limits = { maxSessions: this.#world.profile.maxSessions }
    this.machine = new KeyValueMachine({ limits, remembersWrites: this.#world.driverRules.remembersWrites })
    this.conf = snapshot.conf
    if (snapshot.index > 0) this.machine.restore(snapshot.data)
    if (image === undefined) return
    const stored = new KeyValueMachine()
    stored.restore(image.bytes)
    if (stored.applied <= snapshot.index) return
    this.machine.restore(image.bytes)
    this.conf = image.conf
  }

  #scheduleTick(): void {
    const { incarnation } = this
    this.#world.scheduleOn(this, this.tickMs, () => {
      if (incarnation !== this.incarnation) return
      this.#world.note(1, this.id)
      this.raw.tick()
      this.#afterInput()
      this.#scheduleTick()
    })
  }

  #afterInput(): void {
    this.#world.check(this)
    while (this.isUp && this.#inFlight === undefined && this.raw.hasReady()) this.#takeReady()
  }

  #takeReady(): void {
    const ready = this.raw.ready()
    this.#world.network.sendAll(this, ready.messages)
    if (this.#world.driverRules.sendsPromisesBeforeSync) this.#world.network.sendAll(this, ready.messagesAfterAppend)
    if (!ready.mustSync) {
      if (ready.hardState !== undefined) this.disk.writeCommitHint(ready.hardState.commit)
      this.#complete(ready)
      return
    }
    this.#inFlight = ready
    this.disk.begin(ready)
    const { incarnation } = this
    this.#world.scheduleOn(this, this.#world.diskDelayMs(this), () => {
      if (incarnation !== this.incarnation) return
      this.#world.note(2, this.id, ready.entries.length)
      if (this.failsNextSync) {
        // Whether it was written is unknown and asking again does not tell: the process ends (rule D8).
        this.#world.crashNode(this)
        return
      }
      this.disk.finish()
      this.#inFlight = undefined
      this.#complete(ready)
      this.#afterInput()
    })
  }

  #complete(ready: Ready): void {
    if (ready.snapshot !== undefined) this.#install(ready.snapshot)
    this.#storage.append(ready.entries)
    if (ready.hardState !== undefined) this.#storage.setHardState(ready.hardState)
    if (!this.#world.driverRules.sendsPromisesBeforeSync) this.#world.network.sendAll(this, ready.messagesAfterAppend)
    for (const entry of ready.committed) this.#apply(entry)
    for (const read of ready.reads) this.#onReadState(read.readId, read.index)
    for (const readId of ready.droppedReads) this.#reads.delete(readId)
    this.#serveReads()
    this.raw.advance()
    this.#world.check(this)
  }

  #install(snapshot: Snapshot): void {
    if (this.#world.driverRules.keepsTailAfterSnapshot) this.#storage.restoreKeepingTail(snapshot)
    else this.#storage.restore(snapshot)
    this.machine.restore(snapshot.data)
    this.conf = snapshot.conf
    this.#world.checker.onApplied(this)
    for (const index of this.#waiters.keys()) if (index <= snapshot.index) this.#waiters.delete(index)
  }

  #apply(entry: Entry): void {
    let applied: Applied | undefined
    if (entry.kind === 'confChange') {
      this.machine.skip(entry.index)
      this.conf = this.raw.applyConfChange(entry.change)
      this.#world.checker.onConfApplied(entry.index, this.conf)
    } else applied = this.machine.apply(entry.index, entry.data)
    this.#world.checker.onApplied(this)
    if (applied !== undefined && entry.kind === 'normal' && entry.data.length > 0) {
      this.#world.oracle.onApplied(entry.index, decodeCommand(entry.data), applied)
    }
    const waiters = this.#waiters.get(entry.index)
    if (waiters === undefined) return
    this.#waiters.delete(entry.index)
    for (const { term, reply } of waiters) {
      if (term !== entry.term || applied === undefined) reply({ kind: 'failed', leader: 0 })
      else reply({ kind: 'applied', result: applied.result, index: entry.index })
    }
  }

  #onRead(key: string, reply: (reply: ClientReply) => void): void {
    const readId = `${this.id}.${this.incarnation}.${++this.#readCounter}`
    const floor = this.#world.checker.committedIndex
    if (this.raw.readIndex(readId) === 'dropped') reply({ kind: 'failed', leader: 0 })
    else this.#reads.set(readId, { key, reply, floor, index: undefined })
  }

  #onReadState(readId: string, index: LogIndex): void {
    const read = this.#reads.get(readId)
    if (read === undefined) return
    this.#world.oracle.onReadIndex(this.id, index, read.floor)
    read.index = index
  }

  #serveReads(): void {
    for (const [readId, read] of this.#reads) {
      if (read.index === undefined || read.index > this.machine.applied) continue
      this.#reads.delete(readId)
      read.reply({ kind: 'value', entry: this.machine.get(read.key), applied: this.machine.applied })
    }
  }
}

// First members start from a snapshot at index 1: who joins later cannot be fed from the log alone, which does not say
// who the first members were.
function firstSnapshot(conf: ConfState): Snapshot {
  if (conf.voters.length === 0) return { index: 0, term: 0, conf, data: NO_DATA }
  const machine = new KeyValueMachine()
  machine.skip(1)
  return { index: 1, term: 1, conf, data: machine.encode() }
}
