import { createPrng } from '@waiter/base'
import {
  APPEND_THREAD,
  APPLY_THREAD,
  type ConfChange,
  type ConfChangeSingle,
  type ConfState,
  EMPTY_CONF,
  type Entry,
  encodeText,
  type InitialLog,
  MemoryStorage,
  type Message,
  type MsgStorageAppend,
  type MsgStorageApply,
  NO_DATA,
  type RaftOptions,
  RawNode,
  type Ready,
  type Snapshot,
} from '../../src/index.ts'

/** A node with its storage and everything its user saw. */
export class TestNode {
  readonly id: number
  readonly storage: MemoryStorage
  readonly raw: RawNode
  readonly isAsync: boolean
  conf: ConfState
  readonly applied: Entry[] = []
  readonly reads: { readId: string; index: number }[] = []
  readonly droppedReads: string[] = []
  snapshot: Snapshot | undefined

  constructor(id: number, initial: InitialLog, options: Partial<RaftOptions> = {}) {
    this.id = id
    this.storage = new MemoryStorage(initial)
    this.conf = this.storage.initialState().conf
    this.isAsync = options.asyncStorageWrites === true
    this.raw = new RawNode({ id, random: createPrng(id), ...options }, this.storage)
  }

  get status() {
    return this.raw.status()
  }

  /** With asynchronous storage: what waits to be written and to be applied. */
  readonly appendWork: MsgStorageAppend[] = []
  readonly applyWork: MsgStorageApply[] = []

  /** Carries out one Ready and returns what it sent, in order. With asynchronous storage the work waits. */
  handle(): { ready: Ready; sent: readonly Message[] } {
    const ready = this.raw.ready()
    if (this.isAsync) {
      this.reads.push(...ready.reads)
      this.droppedReads.push(...ready.droppedReads)
      for (const message of ready.messages) {
        if (message.type === 'MsgStorageAppend') this.appendWork.push(message)
        else if (message.type === 'MsgStorageApply') this.applyWork.push(message)
      }
      return { ready, sent: ready.messages.filter(({ to }) => to !== APPEND_THREAD && to !== APPLY_THREAD) }
    }
    this.persist(ready)
    this.finish(ready)
    return { ready, sent: [...ready.messages, ...ready.messagesAfterAppend] }
  }

  /** Writes what was asked for first; returns the responses. */
  appendNext(): readonly Message[] {
    const work = this.appendWork.shift()
    if (work === undefined) return []
    this.persist(work)
    return work.responses
  }

  /** Applies what was asked for first; returns the responses. */
  applyNext(): readonly Message[] {
    const work = this.applyWork.shift()
    if (work === undefined) return []
    this.apply(work.entries)
    return work.responses
  }

  persist(ready: Pick<Ready, 'snapshot' | 'entries' | 'hardState'>): void {
    if (ready.snapshot !== undefined) {
      this.storage.restore(ready.snapshot)
      this.conf = ready.snapshot.conf
    }
    this.storage.append(ready.entries)
    if (ready.hardState !== undefined) this.storage.setHardState(ready.hardState)
  }

  finish(ready: Ready): void {
    this.apply(ready.committed)
    this.reads.push(...ready.reads)
    this.droppedReads.push(...ready.droppedReads)
    this.raw.advance()
  }

  apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.applied.push(entry)
      if (entry.kind === 'confChange') this.conf = this.raw.applyConfChange(entry.change)
    }
  }

  /** Handles everything there is and returns all messages. */
  drain(): Message[] {
    const sent: Message[] = []
    while (this.raw.hasReady()) sent.push(...this.handle().sent)
    return sent
  }

  /** The log as `term/index` names. */
  log(): string {
    return this.raw
      .logEntries()
      .map(entry => `${entry.term}/${entry.index}`)
      .join(' ')
  }

  /** Forgets the log up to what is applied, or less of it. */
  compact(through: number = this.status.applied): void {
    const index = this.status.applied
    this.storage.saveSnapshot(index, this.conf, encodeText(`state at ${index}`))
    this.storage.compact(through)
  }
}

/** Nodes on a network that delivers at once and in order, but for what a filter drops. */
export class TestCluster {
  readonly nodes = new Map<number, TestNode>()
  /** Returns false to lose a message. */
  filter: (message: Message) => boolean = () => true
  readonly lost: Message[] = []

  constructor(size: number, options: Partial<RaftOptions> = {}, start: Partial<InitialLog> = {}) {
    const conf = confOf(Array.from({ length: size }, (_, at) => at + 1))
    for (const id of conf.voters) this.add(id, { conf, ...start }, options)
  }

  add(id: number, initial: InitialLog, options: Partial<RaftOptions> = {}): TestNode {
    const node = new TestNode(id, initial, options)
    this.nodes.set(id, node)
    return node
  }

  node(id: number): TestNode {
    return this.nodes.get(id)!
  }

  /** Cuts a node off. */
  isolate(...ids: number[]): void {
    this.filter = message => !ids.includes(message.from) && !ids.includes(message.to)
  }

  heal(): void {
    this.filter = () => true
  }

  /** Delivers until nothing moves. */
  settle(): void {
    for (let round = 0; round < 1000; round++) {
      const sent = [...this.nodes.values()].flatMap(node => node.drain())
      if (sent.length === 0) return
      for (const message of sent) {
        if (this.filter(message)) this.nodes.get(message.to)?.raw.step(message)
        else this.lost.push(message)
        if (message.type === 'MsgSnap') this.node(message.from).raw.reportSnapshot(message.to, this.filter(message))
      }
    }
    throw new Error('the cluster never comes to rest')
  }

  elect(id: number): TestNode {
    this.node(id).raw.campaign()
    this.settle()
    return this.node(id)
  }

  propose(id: number, text: string) {
    const outcome = this.node(id).raw.propose(encodeText(text))
    this.settle()
    return outcome
  }

  tick(id: number, times = 1): void {
    for (let at = 0; at < times; at++) {
      this.node(id).raw.tick()
      this.settle()
    }
  }

  get leaders(): readonly number[] {
    return [...this.nodes.values()].filter(node => node.status.role === 'leader').map(node => node.id)
  }
}

export function confOf(voters: readonly number[], rest: Partial<ConfState> = {}): ConfState {
  return { ...EMPTY_CONF, voters, ...rest }
}

export function change(
  changes: readonly ConfChangeSingle[],
  transition: ConfChange['transition'] = 'auto',
): ConfChange {
  return { changes, transition, context: NO_DATA }
}

/** Empty entries with these terms, from index 1 on. */
export function entriesOf(...terms: readonly number[]): readonly Entry[] {
  return terms.map((term, at) => ({ kind: 'normal', index: at + 1, term, data: NO_DATA }))
}
