import type { RaftNode } from 'raft-ts/node'

/** Waits for a group to have a leader, as far as one node knows. */
export interface LeaderWait {
  /** Resolves when leadership changes, or after `ms`. */
  change(ms: number): Promise<void>
  /** Calls the listener once, when leadership changes. @returns what ends that */
  onChange(listener: () => void): () => void
  /** Calls the listener each time that leadership changes. @returns what ends that */
  onEach(listener: () => void): () => void
  end(): void
}

/** Listens to the node until `end`. */
export function createLeaderWait<R>(node: RaftNode<R>): LeaderWait {
  const waiting = new Set<() => void>()
  const wakeAll = (): void => {
    for (const wake of [...waiting]) wake()
  }
  const unsubscribe = node.subscribe(event => {
    if (event.kind === 'leaderChanged' || event.kind === 'stopped' || event.kind === 'failed') wakeAll()
  })
  return {
    change: ms =>
      new Promise(resolve => {
        const wake = (): void => {
          clearTimeout(timer)
          waiting.delete(wake)
          resolve()
        }
        const timer = setTimeout(wake, ms)
        waiting.add(wake)
      }),
    onChange: listener => {
      const wake = (): void => {
        waiting.delete(wake)
        listener()
      }
      waiting.add(wake)
      return () => waiting.delete(wake)
    },
    onEach: listener => {
      waiting.add(listener)
      return () => waiting.delete(listener)
    },
    end: () => {
      unsubscribe()
      wakeAll()
    },
  }
}
