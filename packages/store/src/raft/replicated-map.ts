import type { KeyValueChange, KeyValueResult, LogIndex } from 'raft-ts'
import { KeyValueStateMachine } from 'raft-ts/node'
import type { Version, Versioned } from '../key-value-store.ts'
import { createStoreState, type StateChange, type StoreState } from '../store-state.ts'
import type { WatchLimits } from '../watch-hub.ts'

/** What a group begins with, when it does not begin empty: the same on each of its first members. */
export interface FirstState {
  readonly entries: Iterable<Versioned>
  readonly version: Version
}

/**
 * The replicated map as the store sees it: beside the deterministic machine, its entries in the store's order, and the
 * watchers, who hear of a change when it is applied here.
 */
export class ReplicatedMap extends KeyValueStateMachine {
  readonly state: StoreState

  constructor(options: { readonly watchLimits?: Partial<WatchLimits>; readonly first?: FirstState | undefined } = {}) {
    super()
    if (options.first !== undefined) this.map.seed(options.first.entries, options.first.version)
    this.state = createStoreState({
      entries: this.map.list(''),
      version: this.map.version,
      watchLimits: options.watchLimits ?? {},
    })
  }

  override apply(index: LogIndex, data: Uint8Array): KeyValueResult {
    const applied = this.map.apply(index, data)
    for (const change of applied?.changes ?? [applied?.change])
      if (change !== undefined) this.state.apply(toStateChange(change))
    return applied?.result ?? { kind: 'nothing' }
  }

  override async restore(content: AsyncIterable<Uint8Array>): Promise<void> {
    await super.restore(content)
    this.state.replace(this.map.list(''), this.map.version)
  }
}

function toStateChange(change: KeyValueChange): StateChange {
  if (change.kind === 'delete') return change
  const { key, value, version } = change
  return { kind: 'put', entry: { key, value, version } }
}
