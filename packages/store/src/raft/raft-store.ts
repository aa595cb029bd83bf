import { assert, type Logger } from '@waiter/base'
import { encodeCommand, type KeyValueResult, type NodeId, type SessionId } from 'raft-ts'
import { RaftNode, RaftNodeError, type RaftNodeLimits, type RaftNodeOptions } from 'raft-ts/node'
import { outcomeUnknown, storeUnavailable } from '../errors.ts'
import type {
  Key,
  KeyValueStore,
  OnceOutcome,
  Outcome,
  Version,
  Write,
  WriteId,
  WriteSessions,
} from '../key-value-store.ts'
import { checkKey, checkValue, checkWrites } from '../limits.ts'
import type { WatchLimits } from '../watch-hub.ts'
import { createLeaderWait, type LeaderWait } from './leader-wait.ts'
import { type ProposeOutcome, proposeHere } from './propose.ts'
import { type FirstState, ReplicatedMap } from './replicated-map.ts'
import { WriteGate } from './write-gate.ts'

/** How long a caller waits while the group finds a leader: several elections, and less than a caller's own patience. */
const PATIENCE_MS = 3_000
/** One attempt at the leader; a leader that has lost its majority does not answer. */
const ATTEMPT_MS = 1_000
/** Many writes in one entry are some megabytes, which have to reach a majority and its disks. */
const LARGE_PATIENCE_MS = 30_000
const LARGE_ATTEMPT_MS = 10_000
/** Before another attempt, unless leadership changes sooner. */
const RETRY_MS = 50
/** A watch begins with what is known here when the group does not confirm it by then. */
const WATCH_BARRIER_MS = 1_000

/** Little data that changes seldom: snapshots come early, so that a start replays little. */
const NODE_LIMITS: Partial<RaftNodeLimits> = {
  snapshotEveryEntries: 20_000,
  snapshotEveryBytes: 16 * 2 ** 20,
  trailingEntries: 2_000,
}

export interface RaftStoreOptions
  extends Pick<
    RaftNodeOptions<KeyValueResult>,
    'id' | 'storage' | 'transport' | 'bootstrap' | 'bootstrapTerm' | 'raft' | 'ticker' | 'limits' | 'onEvent'
  > {
  /** What a new group begins with; empty unless given. Used only together with `bootstrap`. */
  readonly first?: FirstState | undefined
  /** Puts a command to the leader, another node; rejects only when it could not even be sent. */
  readonly forward: (leader: NodeId, command: Uint8Array, timeoutMs: number) => Promise<ProposeOutcome>
  readonly watchLimits?: Partial<WatchLimits>
  readonly patienceMs?: number
  readonly log: Logger
}

/** The store of one member of a group, and the member itself. */
export interface RaftStore extends KeyValueStore, WriteSessions {
  readonly node: RaftNode<KeyValueResult>
  /** Puts another member's command into the log; this node must lead. */
  propose(command: Uint8Array, timeoutMs: number): Promise<ProposeOutcome>
}

/**
 * A store that a group of nodes keeps together. Every member answers everything: writes go to the leader, wherever it
 * is, and are applied once, however often they had to be tried; reads are linearizable; watches tell what is applied
 * here.
 *
 * Without a majority nothing can be written or read for certain (`WTR_STORE_UNAVAILABLE` after some seconds); watches go
 * on with what is known.
 *
 * @throws {RaftNodeError} `RAFT_LOG_CORRUPT`, `RAFT_LOG_IN_USE` or `RAFT_LOG_FAILED`
 */
export async function openRaftStore(options: RaftStoreOptions): Promise<RaftStore> {
  const { first, forward, watchLimits, patienceMs, log, limits, ...rest } = options
  const machine = new ReplicatedMap({ first, ...(watchLimits === undefined ? {} : { watchLimits }) })
  const node = await RaftNode.start({ ...rest, machine, limits: { ...NODE_LIMITS, ...limits } })
  return new Member({ node, machine, forward, patienceMs: patienceMs ?? PATIENCE_MS, log })
}

interface Parts {
  readonly node: RaftNode<KeyValueResult>
  readonly machine: ReplicatedMap
  readonly forward: RaftStoreOptions['forward']
  readonly patienceMs: number
  readonly log: Logger
}

class Member implements RaftStore {
  readonly node: RaftNode<KeyValueResult>
  readonly #parts: Parts
  readonly #leaders: LeaderWait
  readonly #gate = new WriteGate()
  #session: Promise<SessionId> | undefined
  #closing: Promise<void> | undefined

  constructor(parts: Parts) {
    this.#parts = parts
    this.node = parts.node
    this.#leaders = createLeaderWait(parts.node)
  }

  async get(key: Key): ReturnType<KeyValueStore['get']> {
    await this.#barrier(this.#parts.patienceMs)
    return this.#parts.machine.state.get(key)
  }

  async compareAndSet(key: Key, expected: Version, value: string | undefined): Promise<Outcome> {
    this.#checkOpen()
    checkKey(key)
    if (value !== undefined) checkValue(value)
    const sequence = await this.#gate.enter()
    try {
      return await this.#inSession(sequence, id => this.compareAndSetOnce({ key, expected, value }, id))
    } finally {
      this.#gate.leave(sequence)
    }
  }

  async compareAndSetAll(writes: readonly Write[]): Promise<Outcome> {
    this.#checkOpen()
    checkWrites(writes)
    const sequence = await this.#gate.enter()
    try {
      return await this.#inSession(sequence, id => this.#once(encodeCommand({ kind: 'writeAll', ...id, writes }), true))
    } finally {
      this.#gate.leave(sequence)
    }
  }

  async *list(prefix: Key): ReturnType<KeyValueStore['list']> {
    await this.#barrier(this.#parts.patienceMs)
    yield* this.#parts.machine.state.list(prefix)
  }

  async *watch(prefix: Key, signal: AbortSignal): ReturnType<KeyValueStore['watch']> {
    this.#checkOpen()
    if (signal.aborted) return
    try {
      await this.#barrier(WATCH_BARRIER_MS)
    } catch (error) {
      this.#checkOpen()
      this.#parts.log.warn({ err: error, prefix }, 'a watch begins with what is known here: nobody confirms it')
    }
    yield* this.#parts.machine.state.watch(prefix, signal)
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      this.#parts.machine.state.endWatches()
      this.#leaders.end()
      await this.node.stop()
    })()
    return this.#closing
  }

  async propose(command: Uint8Array, timeoutMs: number): Promise<ProposeOutcome> {
    this.#checkOpen()
    return await proposeHere(this.node, command, timeoutMs)
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw storeUnavailable('The store is closed.')
  }

  async openSession(): Promise<SessionId> {
    this.#checkOpen()
    const { result } = await this.#submit(encodeCommand({ kind: 'openSession' }))
    assert(result.kind === 'opened', `opening a session came to ${result.kind}`)
    return result.session
  }

  async compareAndSetOnce(write: Write, id: WriteId): Promise<OnceOutcome> {
    this.#checkOpen()
    checkKey(write.key)
    if (write.value !== undefined) checkValue(write.value)
    return await this.#once(encodeCommand({ kind: 'write', ...id, ...write }))
  }

  async #once(command: Uint8Array, isLarge = false): Promise<OnceOutcome> {
    const { result, isRetried } = await this.#submit(command, isLarge)
    if (result.kind === 'written') return { kind: 'written', version: result.version }
    if (result.kind === 'conflict') return { kind: 'conflict', current: result.current }
    assert(result.kind === 'refused', `a write came to ${result.kind}`)
    // The group has forgotten this session: many others were used since. It may have forgotten an earlier attempt too.
    return { kind: 'refused', mayHaveHappened: isRetried }
  }

  async #inSession(sequence: number, put: (id: WriteId) => Promise<OnceOutcome>): Promise<Outcome> {
    for (let isRenewed = false; ; isRenewed = true) {
      this.#session ??= this.#openOwnSession()
      const opening = this.#session
      const session = await opening
      const { firstPending } = this.#gate
      const outcome = await put({ session, sequence, firstPending })
      if (outcome.kind !== 'refused') return outcome
      if (this.#session === opening) this.#session = undefined
      if (outcome.mayHaveHappened || isRenewed) throw outcomeUnknown()
    }
  }

  async #openOwnSession(): Promise<SessionId> {
    try {
      return await this.openSession()
    } catch (error) {
      this.#session = undefined
      throw error
    }
  }

  /** Puts a command to whoever leads, until it is applied. Sessions see to it that it is applied once. */
  async #submit(command: Uint8Array, isLarge = false): Promise<{ result: KeyValueResult; isRetried: boolean }> {
    const giveUpAtMs = performance.now() + (isLarge ? LARGE_PATIENCE_MS : this.#parts.patienceMs)
    const attemptMs = isLarge ? LARGE_ATTEMPT_MS : ATTEMPT_MS
    let mayHaveHappened = false
    for (;;) {
      const leftMs = giveUpAtMs - performance.now()
      const outcome = await this.#attempt(command, Math.min(attemptMs, Math.max(leftMs, 1)))
      if (outcome.kind === 'applied') return { result: outcome.result, isRetried: mayHaveHappened }
      mayHaveHappened ||= outcome.mayHaveHappened
      this.#checkOpen()
      if (giveUpAtMs - performance.now() <= RETRY_MS) throw this.#noMajority(mayHaveHappened, outcome.why)
      await this.#leaders.change(RETRY_MS)
    }
  }

  async #attempt(command: Uint8Array, timeoutMs: number): Promise<ProposeOutcome> {
    const { leader, id } = this.node
    if (leader === 0) return { kind: 'failed', mayHaveHappened: false, leader: 0, why: 'no leader is known' }
    if (leader === id) return await proposeHere(this.node, command, timeoutMs)
    return await this.#forward(leader, command, timeoutMs)
  }

  /** A leader that was cut off does not answer: as soon as another one is known, that one is asked instead. */
  async #forward(leader: NodeId, command: Uint8Array, timeoutMs: number): Promise<ProposeOutcome> {
    const { promise: outdated, resolve } = Promise.withResolvers<ProposeOutcome>()
    const stopListening = this.#leaders.onEach(() => {
      if (this.node.leader === leader || this.node.leader === 0) return
      resolve({ kind: 'failed', mayHaveHappened: true, leader: this.node.leader, why: 'another node leads by now' })
    })
    try {
      return await Promise.race([this.#parts.forward(leader, command, timeoutMs), outdated])
    } finally {
      stopListening()
    }
  }

  /** Resolves when everything that was committed when it was called is applied here. */
  async #barrier(patienceMs: number): Promise<void> {
    this.#checkOpen()
    const giveUpAtMs = performance.now() + patienceMs
    for (;;) {
      // What was asked of a leader that is gone is asked of the next one at once.
      const isOutdated = new AbortController()
      const stopListening = this.#leaders.onChange(() => isOutdated.abort())
      try {
        await this.node.read({ timeoutMs: Math.min(ATTEMPT_MS, patienceMs), signal: isOutdated.signal })
        return
      } catch (error) {
        this.#checkOpen()
        if (!(error instanceof RaftNodeError)) throw error
        if (giveUpAtMs - performance.now() <= RETRY_MS) throw this.#noMajority(false, error.message)
        if (isOutdated.signal.aborted && this.node.leader !== 0) continue
      } finally {
        stopListening()
      }
      await this.#leaders.change(RETRY_MS)
    }
  }

  #noMajority(mayHaveHappened: boolean, why: string): Error {
    const { voters } = this.node.conf
    const needed = Math.floor(voters.length / 2) + 1
    const members =
      voters.length === 1
        ? 'The control node does not answer'
        : `${needed} of the ${voters.length} control nodes must answer, and they do not`
    return storeUnavailable(
      `${members}: tokens and services cannot be changed now, requests are served as before. Try again shortly. ` +
        `(${mayHaveHappened ? 'This write may still take effect: ' : ''}${why})`,
    )
  }
}
