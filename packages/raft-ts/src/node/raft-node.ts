import {
  type ConfChange,
  type ConfState,
  type Entry,
  type LogIndex,
  type Message,
  type MsgSnap,
  NONE,
  type NodeId,
  type ProposedEntry,
  payloadBytes,
  RawNode,
  type Ready,
  type Role,
  type Snapshot,
  type SnapshotChunk,
  type Status,
  type TraceEvent,
} from '../index.ts'
import { AppliedMachine } from './applied-machine.ts'
import { atMost } from './at-most.ts'
import { badProposal, RaftNodeError, tooManyRequests } from './errors.ts'
import { createMetrics, type RaftNodeEvent, type RaftNodeMetrics } from './events.ts'
import type { LogStorage } from './log-storage.ts'
import { LogWriter } from './log-writer.ts'
import { type Committed, ProposalQueue } from './proposal-queue.ts'
import { type RaftNodeOptions, type ResolvedOptions, resolveOptions } from './raft-node-options.ts'
import { type Request, type RequestOptions, Requests } from './requests.ts'
import { SharedReads } from './shared-reads.ts'
import { SnapshotTransfers } from './snapshot-transfers.ts'
import type { StateMachine } from './state-machine.ts'
import type { Transport } from './transport.ts'

/**
 * One member of a group: owns the protocol, the disk, the network and the state machine, and moves what is to be done
 * between them in the order written at `Ready` (rules D1–D8). One `Ready` at a time: while its write is with the disk
 * nothing leaves this node, heartbeats included, so that a leader whose disk hangs is replaced by one whose disk works.
 *
 * Whatever is asked for while the disk is busy goes into the log together, under the next sync.
 */
export class RaftNode<R> implements AsyncDisposable {
  readonly id: NodeId
  readonly #storage: LogStorage
  readonly #transport: Transport
  readonly #machine: AppliedMachine<R>
  readonly #writer: LogWriter
  readonly #faultOf: StateMachine<R>['faultOf']
  readonly #options: ResolvedOptions
  readonly #requests: Requests
  readonly #proposals: ProposalQueue<R | ConfState>
  readonly #reads: SharedReads
  readonly #snapshots: SnapshotTransfers
  readonly #metrics: RaftNodeMetrics = createMetrics()
  readonly #listeners = new Set<(event: RaftNodeEvent) => void>()
  readonly #tasks = new Set<Promise<void>>()
  readonly #ended = Promise.withResolvers<RaftNodeError | undefined>()
  #raw!: RawNode
  #role: Role = 'follower'
  #leader: NodeId = NONE
  #transfers: { readonly to: NodeId; readonly request: Request<void> }[] = []
  #wake: (() => void) | undefined
  #isStopping = false
  #stopTicks: () => void = () => undefined
  #stopping: Promise<void> | undefined

  private constructor(options: RaftNodeOptions<R>) {
    const resolved = resolveOptions(options)
    const { limits, ticker, incarnation } = resolved
    const { storage, transport } = options
    this.id = options.id
    this.#storage = storage
    this.#transport = transport
    const { machine } = options
    this.#faultOf = data => machine.faultOf?.(data)
    this.#options = resolved
    this.#requests = new Requests(ticker.tickMs)
    this.#proposals = new ProposalQueue(limits)
    this.#reads = new SharedReads(`${options.id}.${incarnation}`)
    const timeoutTicks = Math.ceil(limits.snapshotTimeoutMs / ticker.tickMs)
    const stallTicks = Math.ceil(limits.snapshotStallTimeoutMs / ticker.tickMs)
    const { maxSnapshotBytes } = limits
    this.#snapshots = new SnapshotTransfers({ storage, transport, timeoutTicks, stallTicks, maxSnapshotBytes })
    const metrics = this.#metrics
    const tell = (event: RaftNodeEvent): void => this.#tell(event)
    this.#machine = new AppliedMachine({ storage, machine, limits, metrics, tell })
    this.#writer = new LogWriter({ storage, metrics, tickMs: ticker.tickMs, stallTicks: resolved.electionTicks, tell })
    if (options.onEvent !== undefined) this.#listeners.add(options.onEvent)
  }

  /**
   * Restores the state machine, replays the log and joins the group. Resolves when the node takes part; leadership and
   * catching up come later.
   *
   * @throws {RaftNodeError} `RAFT_LOG_CORRUPT` or `RAFT_LOG_FAILED`
   */
  static async start<R>(options: RaftNodeOptions<R>): Promise<RaftNode<R>> {
    const node = new RaftNode(options)
    await node.#open(options.bootstrap, options.bootstrapTerm ?? 1)
    return node
  }

  /** Resolves when the node has ended: undefined after `stop`, else why it could not go on. Never rejects. */
  get ended(): Promise<RaftNodeError | undefined> {
    return this.#ended.promise
  }

  get role(): Role {
    return this.#role
  }

  /** Who leads, as far as this node knows; 0: nobody. */
  get leader(): NodeId {
    return this.#leader
  }

  /** The last entry in the state machine. */
  get applied(): LogIndex {
    return this.#machine.applied
  }

  /** The members as of the last applied entry. */
  get conf(): ConfState {
    return this.#machine.conf
  }

  get metrics(): Readonly<RaftNodeMetrics> {
    return { ...this.#metrics, readRounds: this.#reads.rounds }
  }

  status(): Status {
    return this.#raw.status()
  }

  /** Tells everything that happens from now on. The listener must not throw. Call the returned function to end it. */
  subscribe(listener: (event: RaftNodeEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * Puts data into the replicated log. Resolves with the state machine's result once it is durable on a quorum and
   * applied here.
   *
   * @throws {RaftNodeError} whose `outcome` says whether it may have happened nevertheless
   */
  async propose(data: Uint8Array, options: RequestOptions = {}): Promise<Committed<R>> {
    // Empty data is what a new leader writes; a machine never sees it as a command.
    const fault = data.length === 0 ? 'it is empty' : this.#faultOf?.(data)
    if (fault !== undefined) throw badProposal(`${fault}.`)
    const committed = await this.#propose({ kind: 'normal', data }, options)
    return committed as Committed<R>
  }

  /** Changes the members. Resolves with the new configuration once it is in force here; a joint one may still follow. */
  async changeMembers(change: ConfChange, options: RequestOptions = {}): Promise<Committed<ConfState>> {
    const committed = await this.#propose({ kind: 'confChange', change }, options)
    return committed as Committed<ConfState>
  }

  /**
   * Resolves when the state machine of this node contains everything that was committed when it was asked: what is read
   * from it then is linearizable. Works on followers too.
   */
  async read(options: RequestOptions = {}): Promise<LogIndex> {
    const request = this.#request<LogIndex>(options)
    this.#reads.add(request)
    this.#wakeUp()
    return request.promise
  }

  /** Hands leadership to a voter. Resolves when this node sees it lead. */
  async transferLeader(to: NodeId, options: RequestOptions = {}): Promise<void> {
    const request = this.#request<void>(options)
    if (this.#leader === to) request.resolve()
    else {
      this.#transfers.push({ to, request })
      this.#guard(() => this.#raw.transferLeader(to))
    }
    return request.promise
  }

  /** Starts an election now; for operators and tests. */
  campaign(): void {
    this.#guard(() => this.#raw.campaign())
  }

  /** Takes a snapshot of the state machine now and forgets the log before it, but for the trailing entries. */
  async takeSnapshot(): Promise<LogIndex> {
    this.#checkRunning()
    try {
      await this.#machine.takeSnapshot()
    } catch (error) {
      this.#fail(error)
      throw error
    }
    return this.#storage.snapshot?.index ?? 0
  }

  /** Ends the node in order: what is being written is finished, everybody who waits is told, files and sockets close. */
  stop(): Promise<void> {
    this.#stopping ??= this.#end(undefined)
    return this.#stopping
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #open(bootstrap: readonly NodeId[] | undefined, bootstrapTerm: number): Promise<void> {
    await this.#machine.bootstrap(bootstrap, bootstrapTerm)
    await this.#machine.recover()
    const { raft, ticker } = this.#options
    const trace = (event: TraceEvent): void => this.#onTrace(event)
    this.#raw = new RawNode({ ...raft, id: this.id, applied: this.applied, trace }, this.#machine.reader)
    await this.#transport.start({
      onMessages: messages => this.#onMessages(messages),
      onUnreachable: peer => {
        this.#metrics.peersUnreachable++
        this.#guard(() => this.#raw.reportUnreachable(peer))
      },
      onGone: peer => {
        this.#metrics.peersGone++
        this.#guard(() => this.#raw.reportGone(peer))
      },
      onSnapshot: (message, chunks) => this.#onSnapshot(message, chunks),
    })
    this.#stopTicks = ticker.start(() => this.#onTick())
    this.#supervise(this.#loop())
  }

  async #loop(): Promise<void> {
    while (!this.#isStopping) {
      this.#proposals.flush(this.#raw)
      this.#reads.flush(this.#raw)
      if (this.#raw.hasReady()) await this.#carryOut(this.#raw.ready())
      else await new Promise<void>(resolve => (this.#wake = resolve))
      // Whatever else has arrived in this turn is handled together.
      await new Promise<void>(resolve => setImmediate(resolve))
    }
  }

  async #carryOut(ready: Ready): Promise<void> {
    this.#metrics.readies++
    if (ready.softState !== undefined) this.#onLeader(ready.softState.leader, ready.softState.role)
    this.#send(ready.messages)
    const writing = ready.mustSync ? this.#writer.write(ready) : undefined
    if (writing === undefined && ready.hardState !== undefined) this.#writer.noteLater(ready.hardState.commit)
    // What is durable here already need not wait for what is being written.
    const early = ready.snapshot === undefined ? this.#applyDurable(ready.committed) : 0
    await writing
    this.#send(ready.messagesAfterAppend)
    if (ready.snapshot !== undefined) await this.#install(ready.snapshot)
    for (const entry of ready.committed.slice(early)) this.#apply(entry)
    for (const { readId, index } of ready.reads) this.#reads.onConfirmed(readId, index)
    for (const readId of ready.droppedReads) this.#reads.onDropped(readId)
    this.#metrics.readsServed += this.#reads.serve(this.applied)
    this.#raw.advance()
    if (this.#machine.isSnapshotDue) this.#supervise(this.#machine.takeSnapshot())
  }

  // Not beyond a membership change: that one waits for its turn after the write.
  #applyDurable(committed: readonly Entry[]): number {
    const durable = this.#storage.reader.lastIndex()
    let count = 0
    for (const entry of committed) {
      if (entry.index > durable || entry.kind === 'confChange') break
      this.#apply(entry)
      count++
    }
    return count
  }

  #apply(entry: Entry): void {
    const result = this.#machine.apply(entry, this.#raw)
    this.#proposals.onApplied(entry, result)
  }

  async #install(snapshot: Snapshot): Promise<void> {
    await this.#machine.install(snapshot)
    this.#snapshots.done()
    this.#proposals.onSnapshot(snapshot.index)
    this.#metrics.snapshotsReceived++
    this.#tell({ kind: 'snapshotReceived', index: snapshot.index })
  }

  #send(messages: readonly Message[]): void {
    if (messages.length === 0) return
    const plain = messages.filter(message => message.type !== 'MsgSnap')
    this.#metrics.messagesSent += messages.length
    if (plain.length > 0) this.#transport.send(plain)
    for (const message of messages) if (message.type === 'MsgSnap') this.#supervise(this.#sendSnapshot(message))
  }

  async #sendSnapshot(message: MsgSnap): Promise<void> {
    const { to, snapshot } = message
    let isDelivered = false
    try {
      await this.#snapshots.send(message)
      isDelivered = true
      this.#metrics.snapshotsSent++
      this.#tell({ kind: 'snapshotSent', to, index: snapshot.index })
    } catch (error) {
      if (error instanceof RaftNodeError && error.code === 'RAFT_LOG_CORRUPT') throw error
      this.#metrics.snapshotsFailed++
      this.#tell({ kind: 'snapshotFailed', peer: to, index: snapshot.index, error })
    }
    if (!this.#isStopping) this.#guard(() => this.#raw.reportSnapshot(to, isDelivered))
  }

  async #onSnapshot(message: MsgSnap, chunks: AsyncIterable<SnapshotChunk>): Promise<void> {
    this.#checkRunning()
    const { index } = message.snapshot
    // Not wanted: the core answers where this node is, and nothing need be taken.
    if (index <= this.#raw.status().hardState.commit) {
      this.#guard(() => this.#raw.step(message))
      return
    }
    const received = await this.#snapshots.receive(message, chunks).catch(error => {
      // The sender may try again; a disk that has failed may not (rule D8).
      if (error instanceof RaftNodeError && error.code === 'RAFT_LOG_FAILED') this.#fail(error)
      throw error
    })
    this.#checkRunning()
    this.#guard(() => this.#raw.step(message))
    if (this.#raw.peekReady().snapshot?.index === index) return
    await received.discard()
    this.#snapshots.done()
    this.#tell({ kind: 'snapshotIgnored', index })
  }

  #onMessages(messages: readonly Message[]): void {
    if (this.#isStopping) return
    this.#metrics.messagesReceived += messages.length
    this.#guard(() => {
      for (const message of messages) if (message.type !== 'MsgSnap') this.#raw.step(message)
    })
  }

  #onTick(): void {
    this.#metrics.ticks++
    this.#guard(() => this.#raw.tick())
    this.#requests.tick()
    this.#snapshots.tick()
    this.#reads.sweep()
    this.#writer.tick()
    this.#transfers = this.#transfers.filter(({ request }) => !request.isSettled)
  }

  #onTrace(event: TraceEvent): void {
    if (event.kind === 'campaigned') this.#metrics.campaigns++
    this.#tell({ kind: 'core', event })
    // Losing leadership is known at once, also while the disk is busy and no Ready can say so.
    if (event.kind === 'roleChanged' && this.#role === 'leader' && event.role !== 'leader') {
      this.#onLeader(event.leader, event.role)
    }
  }

  #onLeader(leader: NodeId, role: Role): void {
    if (leader === this.#leader && role === this.#role) return
    if (leader !== this.#leader && leader !== NONE) this.#metrics.leaderChanges++
    this.#leader = leader
    this.#role = role
    for (const { to, request } of this.#transfers) if (to === leader) request.resolve()
    this.#tell({ kind: 'leaderChanged', leader, role, term: this.#raw.status().hardState.term })
  }

  async #propose(entry: ProposedEntry, options: RequestOptions): Promise<Committed<R | ConfState>> {
    const { maxProposalBytes } = this.#options.limits
    const bytes = payloadBytes(entry)
    if (bytes > maxProposalBytes) throw badProposal(`it has ${bytes} bytes, at most ${maxProposalBytes} can be.`)
    const request = this.#request<Committed<R | ConfState>>(options)
    this.#metrics.proposals++
    this.#proposals.add(entry, request)
    this.#wakeUp()
    try {
      return await request.promise
    } catch (error) {
      this.#metrics.proposalsFailed++
      throw error
    }
  }

  #request<T>({ timeoutMs = this.#options.limits.requestTimeoutMs, signal }: RequestOptions): Request<T> {
    this.#checkRunning()
    if (this.#requests.count >= this.#options.limits.maxOpenRequests) throw tooManyRequests(this.#requests.count)
    return this.#requests.open(signal === undefined ? { timeoutMs } : { timeoutMs, signal })
  }

  #checkRunning(): void {
    if (!this.#isStopping) return
    throw new RaftNodeError(`Raft node ${this.id} has ended.`, { code: 'RAFT_STOPPED' })
  }

  #wakeUp(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  /** Feeds the core. A broken invariant ends the node: it has lost its footing. */
  #guard(run: () => void): void {
    if (this.#isStopping) return
    try {
      run()
      // Most ticks and some messages leave nothing to do.
      if (this.#raw.hasReady()) this.#wakeUp()
    } catch (error) {
      this.#fail(error)
    }
  }

  /** Owns a promise: its failure is the node's. */
  #supervise(task: Promise<void>): void {
    const owned = task.catch(error => this.#fail(error)).finally(() => this.#tasks.delete(owned))
    this.#tasks.add(owned)
  }

  #fail(cause: unknown): void {
    if (this.#stopping !== undefined) return
    const error = cause instanceof RaftNodeError ? cause : unexpected(this.id, cause)
    this.#tell({ kind: 'failed', error })
    this.#stopping = this.#end(error)
  }

  async #end(error: RaftNodeError | undefined): Promise<void> {
    this.#isStopping = true
    this.#stopTicks()
    this.#wakeUp()
    const why = error === undefined ? 'was stopped' : `has ended: ${error.message}`
    this.#requests.rejectAll(({ isUnderWay }) => {
      const outcome = isUnderWay ? 'unknown' : 'notHappened'
      return new RaftNodeError(`Raft node ${this.id} ${why}`, { code: 'RAFT_STOPPED', outcome, cause: error })
    })
    this.#snapshots.abortAll()
    await this.#transport.stop().catch(() => undefined)
    // A failing task ends in `#fail`, which has nothing left to do.
    await atMost(Promise.all(this.#tasks), this.#options.limits.stopTimeoutMs)
    if (error === undefined) this.#writer.note()
    await atMost(this.#storage.close(), this.#options.limits.stopTimeoutMs)
    this.#role = 'follower'
    this.#leader = NONE
    if (error === undefined) this.#tell({ kind: 'stopped' })
    this.#ended.resolve(error)
  }

  #tell(event: RaftNodeEvent): void {
    for (const listener of this.#listeners) listener(event)
  }
}

function unexpected(id: NodeId, cause: unknown): RaftNodeError {
  const what = cause instanceof Error ? cause.message : String(cause)
  const message = `Raft node ${id} has stopped, because something happened that must not: ${what}`
  return new RaftNodeError(message, { code: 'RAFT_STOPPED', outcome: 'unknown', cause })
}
