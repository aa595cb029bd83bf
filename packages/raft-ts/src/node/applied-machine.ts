import { assert } from '@waiter/base'
import {
  type ConfState,
  EMPTY_CONF,
  type Entry,
  type HardState,
  isMember,
  type LogIndex,
  type LogReader,
  NONE,
  type NodeId,
  payloadBytes,
  type RawNode,
  type Snapshot,
} from '../index.ts'
import type { RaftNodeEvent, RaftNodeMetrics } from './events.ts'
import type { LogStorage } from './log-storage.ts'
import type { RaftNodeLimits } from './raft-node-options.ts'
import type { StateMachine } from './state-machine.ts'

/** What it is made of. */
export interface AppliedMachineOptions<R> {
  readonly storage: LogStorage
  readonly machine: StateMachine<R>
  readonly limits: Pick<RaftNodeLimits, 'snapshotEveryBytes' | 'snapshotEveryEntries' | 'trailingEntries'>
  readonly metrics: RaftNodeMetrics
  readonly tell: (event: RaftNodeEvent) => void
}

/**
 * The state machine with what it contains: entries up to an index, and the members as of it. Begins from a snapshot or its own
 * durable state, and takes snapshots as the log grows (rules D6, D9, S6).
 */
export class AppliedMachine<R> {
  readonly #options: AppliedMachineOptions<R>
  #applied: LogIndex = 0
  #conf: ConfState = EMPTY_CONF
  #sinceSnapshot = { entries: 0, bytes: 0 }
  #isSnapshotRunning = false
  #isSnapshotWanted = false

  constructor(options: AppliedMachineOptions<R>) {
    this.#options = options
  }

  /** The last entry in it. */
  get applied(): LogIndex {
    return this.#applied
  }

  /** The members as of that entry. */
  get conf(): ConfState {
    return this.#conf
  }

  /** The durable log, with the machine's members, not the snapshot's: it may have applied changes since. */
  get reader(): LogReader {
    const { reader } = this.#options.storage
    const conf = this.#conf
    return {
      initialState: () => ({ hardState: reader.initialState().hardState, conf }),
      firstIndex: () => reader.firstIndex(),
      lastIndex: () => reader.lastIndex(),
      term: index => reader.term(index),
      entries: (from, to, maxBytes) => reader.entries(from, to, maxBytes),
      snapshot: () => reader.snapshot(),
    }
  }

  /** All first members begin with the same state at index 1: who joins later is sent it, and learns who they were. */
  async bootstrap(members: readonly NodeId[] | undefined, term: number): Promise<void> {
    const { storage, machine } = this.#options
    const { hardState } = storage.reader.initialState()
    const isEmpty = storage.snapshot === undefined && storage.reader.lastIndex() === 0
    if (members === undefined || !isEmpty || hardState.term > 0) return
    const conf = { ...EMPTY_CONF, voters: [...members].sort((a, b) => a - b) }
    machine.applyConf(1, conf)
    await storage.saveSnapshot({ index: 1, term, conf }, machine.capture())
    const first: HardState = { term, vote: NONE, commit: 1 }
    await storage.write({ hardState: first, snapshot: undefined, entries: [] })
  }

  /** What it holds after a start. */
  async recover(): Promise<void> {
    const { storage, machine } = this.#options
    const { snapshot } = storage
    const { recovered } = machine
    if (recovered !== undefined && recovered.applied >= (snapshot?.index ?? 0)) {
      this.#applied = recovered.applied
      this.#conf = recovered.conf
    } else if (snapshot !== undefined) await this.#restore(snapshot)
  }

  /** Replaces everything by a snapshot that has been received. */
  async install(snapshot: Snapshot): Promise<void> {
    await this.#restore(snapshot)
    this.#sinceSnapshot = { entries: 0, bytes: 0 }
  }

  /** @returns what came of the entry: the machine's result, or the members from now on */
  apply(entry: Entry, raw: RawNode): R | ConfState {
    const { machine, metrics, tell } = this.#options
    let result: R | ConfState
    if (entry.kind === 'confChange') {
      this.#conf = raw.applyConfChange(entry.change)
      machine.applyConf(entry.index, this.#conf)
      result = this.#conf
      tell({ kind: 'confApplied', index: entry.index, conf: this.#conf })
    } else result = machine.apply(entry.index, entry.data)
    this.#applied = entry.index
    const bytes = payloadBytes(entry)
    metrics.entriesApplied++
    metrics.bytesApplied += bytes
    this.#sinceSnapshot.entries++
    this.#sinceSnapshot.bytes += bytes
    return result
  }

  get isSnapshotDue(): boolean {
    const { limits, storage } = this.#options
    const { entries, bytes } = this.#sinceSnapshot
    const isLong = entries >= limits.snapshotEveryEntries || bytes >= limits.snapshotEveryBytes
    // A newcomer can only be sent a snapshot that knows of it (rule S6).
    const newest = storage.snapshot
    const hasNewcomer = newest !== undefined && memberIds(this.#conf).some(id => !isMember(newest.conf, id))
    if (!isLong && !hasNewcomer && !this.#isSnapshotWanted) return false
    return !this.#isSnapshotRunning && this.#applied > (newest?.index ?? 0)
  }

  /** Takes a snapshot, and forgets the log before it but for the trailing entries. One at a time; another is taken after it. */
  async takeSnapshot(): Promise<void> {
    const { storage, machine, limits, metrics, tell } = this.#options
    const index = this.#applied
    const term = storage.reader.term(index)
    if (this.#isSnapshotRunning || term === undefined || index <= (storage.snapshot?.index ?? 0)) {
      this.#isSnapshotWanted ||= this.#isSnapshotRunning
      return
    }
    this.#isSnapshotWanted = false
    this.#isSnapshotRunning = true
    this.#sinceSnapshot = { entries: 0, bytes: 0 }
    try {
      await storage.saveSnapshot({ index, term, conf: this.#conf }, machine.capture())
      metrics.snapshotsCreated++
      tell({ kind: 'snapshotCreated', index })
      const through = index - limits.trailingEntries
      if (through < storage.reader.firstIndex()) return
      await storage.compact(through)
      tell({ kind: 'compacted', through })
    } finally {
      this.#isSnapshotRunning = false
    }
  }

  async #restore(id: Pick<Snapshot, 'index' | 'term' | 'conf'>): Promise<void> {
    const source = await this.#options.storage.openSnapshot(id)
    assert(source !== undefined, `the snapshot at ${id.index} is not there`)
    try {
      await this.#options.machine.restore(source.chunks())
    } finally {
      await source.close()
    }
    this.#applied = id.index
    this.#conf = id.conf
  }
}

function memberIds(conf: ConfState): NodeId[] {
  return [...conf.voters, ...conf.votersOutgoing, ...conf.learners, ...conf.learnersNext]
}
