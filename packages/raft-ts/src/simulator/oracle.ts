import type { KeyValueCommand } from '../kv/command.ts'
import type { Applied, KeyValueResult } from '../kv/key-value-machine.ts'
import type { LogIndex, NodeId } from '../types.ts'
import { Violation } from './violation.ts'

/** Where a write took effect. */
export interface Effect {
  readonly index: LogIndex
  readonly version: number
}

/**
 * Knows what clients may rely on, in linear time (one look per event): every write takes effect at most once, answers
 * are what was applied, reads are not older than what was committed when they were asked for.
 */
export class Oracle {
  /** By write, where it took effect. */
  readonly #effects = new Map<string, Effect>()
  readonly #appliedResults: (KeyValueResult | undefined)[] = []
  readonly #versionByKey = new Map<string, number>()
  readonly #acknowledged: { readonly index: LogIndex; readonly write: string }[] = []

  get acknowledgedCount(): number {
    return this.#acknowledged.length
  }

  /** A node applied a command. Only the first node to reach an index tells news; invariant 7 compares the others. */
  onApplied(index: LogIndex, command: KeyValueCommand, applied: Applied): void {
    if (this.#appliedResults[index] !== undefined) return
    this.#appliedResults[index] = applied.result
    if (command.kind !== 'write') return
    const { change } = applied
    if (change === undefined) return
    const write = nameOf(command.session, command.sequence, command.value)
    const before = this.#effects.get(write)
    if (before !== undefined) {
      throw new Violation('oracle', `write ${write} took effect at ${before.index} and again at ${index}`)
    }
    if (command.expected !== undefined && command.expected !== (this.#versionByKey.get(command.key) ?? 0)) {
      throw new Violation('oracle', `write ${write} at ${index} took effect although ${command.key} had changed`)
    }
    this.#effects.set(write, { index, version: change.version })
    if (change.kind === 'delete') this.#versionByKey.delete(command.key)
    else this.#versionByKey.set(command.key, change.version)
  }

  /** A client was told that its write succeeded: it must never be lost. */
  onAcknowledged(write: string, version: number): void {
    const effect = this.#effects.get(write)
    if (effect === undefined || effect.version !== version) {
      throw new Violation('oracle', `write ${write} was acknowledged with version ${version} but never took effect`)
    }
    this.#acknowledged.push({ index: effect.index, write })
  }

  /** A node was told which index makes a read linearizable. */
  onReadIndex(node: NodeId, index: LogIndex, floor: LogIndex): void {
    if (index >= floor) return
    throw new Violation('oracle', `node ${node} may read at ${index}, but ${floor} was committed when it was asked`)
  }

  /** Where a write took effect; undefined: it did not (yet). */
  effectOf(write: string): Effect | undefined {
    return this.#effects.get(write)
  }

  /** At the end: everything acknowledged is within what all nodes hold. */
  checkNothingLost(heldThrough: LogIndex): void {
    for (const { index, write } of this.#acknowledged) {
      if (index > heldThrough) throw new Violation('oracle', `acknowledged write ${write} at ${index} is lost`)
    }
  }
}

/** Names a write uniquely: by its session, or without one by its value. */
export function nameOf(session: number, sequence: number, value: string | undefined): string {
  return session === 0 ? `value ${value}` : `${session}:${sequence}`
}
