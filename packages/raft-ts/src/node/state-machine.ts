import {
  type ConfState,
  decodeCommand,
  type KeyValueEntry,
  KeyValueMachine,
  type KeyValueOptions,
  type KeyValueResult,
  type LogIndex,
  MalformedBytes,
} from '../index.ts'

/**
 * What a group replicates. Deterministic: equal entries make equal states and results on every node. Synchronous: a
 * machine lives in memory, or in a store that answers at once.
 */
export interface StateMachine<R> {
  /**
   * What the machine kept over a restart: applied index and members as of it, stored in one atomic write with its data
   * (rule D6). undefined: it starts empty, and is restored from the newest snapshot.
   */
  readonly recovered: { readonly applied: LogIndex; readonly conf: ConfState } | undefined
  /**
   * Says what is wrong with data before it is proposed; undefined: nothing. What has entered the log must be applied by
   * everybody, so that data nobody can read would end every node.
   */
  faultOf?(data: Uint8Array): string | undefined
  /** Applies an entry. Entries come in order and without gaps; empty data is a new leader's entry and changes nothing. */
  apply(index: LogIndex, data: Uint8Array): R
  /** An entry that only changes the members. */
  applyConf(index: LogIndex, conf: ConfState): void
  /** The state as of now, as bytes. May be consumed later: it must not change with what is applied meanwhile. */
  capture(): Iterable<Uint8Array>
  /** Replaces the whole state by a captured one. After a rejection the machine is not used any more. */
  restore(content: AsyncIterable<Uint8Array>): Promise<void>
}

/** The replicated map as a state machine of a node. */
export class KeyValueStateMachine implements StateMachine<KeyValueResult> {
  readonly recovered: undefined = undefined
  readonly map: KeyValueMachine

  constructor(options: KeyValueOptions = {}) {
    this.map = new KeyValueMachine(options)
  }

  /** Shorthand for what readers want most. */
  get(key: string): KeyValueEntry | undefined {
    return this.map.get(key)
  }

  faultOf(data: Uint8Array): string | undefined {
    try {
      decodeCommand(data)
      return undefined
    } catch (error) {
      if (error instanceof MalformedBytes) return error.message
      throw error
    }
  }

  apply(index: LogIndex, data: Uint8Array): KeyValueResult {
    return this.map.apply(index, data)?.result ?? { kind: 'nothing' }
  }

  applyConf(index: LogIndex): void {
    this.map.skip(index)
  }

  capture(): Iterable<Uint8Array> {
    return [this.map.encode()]
  }

  async restore(content: AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array[] = []
    for await (const piece of content) pieces.push(piece)
    this.map.restore(Buffer.concat(pieces))
  }
}
