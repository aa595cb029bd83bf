import { watchLagged } from './errors.ts'
import type { Change, Key, Version, Versioned } from './key-value-store.ts'
import { WATCH_QUEUE_BYTES_MAX, WATCH_QUEUE_CHANGES_MAX } from './limits.ts'

/** How much may wait for one watcher. */
export interface WatchLimits {
  readonly queueChangesMax: number
  readonly queueBytesMax: number
}

/** What a watcher wants to see, and how it learns what is there when it begins. */
export interface WatchOrder {
  readonly prefix: Key
  readonly signal: AbortSignal
  present(): { readonly entries: readonly Versioned[]; readonly version: Version }
}

/** Hands changes to watchers, each through a bounded queue of its own. */
export interface WatchHub {
  publish(change: Exclude<Change, { readonly kind: 'synced' }>): void
  /** The present is looked at when the first element is asked for. */
  watch(order: WatchOrder): AsyncIterable<Change>
  /** Ends all present watches with `WTR_WATCH_LAGGED`: what is there has been replaced as a whole. */
  restart(why: string): void
  /** Ends all watches, now and in future. */
  end(): void
}

/** Without watchers. */
export function createWatchHub(wanted: Partial<WatchLimits> = {}): WatchHub {
  const limits = { queueChangesMax: WATCH_QUEUE_CHANGES_MAX, queueBytesMax: WATCH_QUEUE_BYTES_MAX, ...wanted }
  const watchers = new Set<Watcher>()
  let hasEnded = false

  async function* watch({ prefix, signal, present }: WatchOrder): AsyncGenerator<Change> {
    if (hasEnded || signal.aborted) return
    const watcher = createWatcher(prefix, limits)
    watchers.add(watcher)
    signal.addEventListener('abort', watcher.end)
    try {
      const { entries, version } = present()
      for (const entry of entries) {
        if (watcher.isOver()) return
        yield { kind: 'put', entry }
      }
      if (watcher.isOver()) return
      yield { kind: 'synced', version }
      for (let change = await watcher.take(); change !== undefined; change = await watcher.take()) yield change
    } finally {
      signal.removeEventListener('abort', watcher.end)
      watchers.delete(watcher)
    }
  }
  return {
    publish: change => {
      for (const watcher of watchers) watcher.offer(change)
    },
    watch,
    restart: why => {
      for (const watcher of watchers) watcher.restart(why)
    },
    end: () => {
      hasEnded = true
      for (const watcher of watchers) watcher.end()
    },
  }
}

interface Watcher {
  offer(change: Change): void
  /** The next change; undefined when the watch is over. Throws when changes had to be dropped. */
  take(): Promise<Change | undefined>
  /** Throws when changes had to be dropped. */
  isOver(): boolean
  /** Changes are missing, for this reason. */
  restart(why: string): void
  end(): void
}

function createWatcher(prefix: Key, limits: WatchLimits): Watcher {
  let queue: Change[] = []
  let taken = 0
  let queuedBytes = 0
  let isLagging = false
  let lagReason: string | undefined
  let hasEnded = false
  let wake: (() => void) | undefined
  const isOver = (): boolean => {
    if (isLagging && !hasEnded) {
      throw watchLagged(
        lagReason ??
          `A watch of "${prefix}" was ended: it read so slowly that more than ${limits.queueChangesMax} changes or ` +
            `${limits.queueBytesMax} bytes waited for it. Start it again.`,
      )
    }
    return hasEnded
  }
  return {
    offer: change => {
      const key = keyOf(change)
      if (isLagging || hasEnded || !key.startsWith(prefix)) return
      const bytes = sizeOf(change)
      const waiting = queue.length - taken
      isLagging = waiting >= limits.queueChangesMax || (waiting > 0 && queuedBytes + bytes > limits.queueBytesMax)
      queuedBytes += bytes
      if (isLagging) queue = []
      else queue.push(change)
      wake?.()
    },
    take: async () => {
      while (!isOver() && queue.length === taken) {
        await new Promise<void>(resolve => {
          wake = resolve
        })
      }
      if (hasEnded) return undefined
      const change = queue[taken++] as Change
      queuedBytes -= sizeOf(change)
      if (taken === queue.length) {
        queue = []
        taken = 0
      }
      return change
    },
    isOver,
    restart: why => {
      isLagging = true
      lagReason = why
      queue = []
      wake?.()
    },
    end: () => {
      hasEnded = true
      queue = []
      wake?.()
    },
  }
}

function keyOf(change: Change): string {
  return change.kind === 'put' ? change.entry.key : change.kind === 'delete' ? change.key : ''
}

/** In UTF-16 units, which is close enough to bound memory. */
function sizeOf(change: Change): number {
  return keyOf(change).length + (change.kind === 'put' ? change.entry.value.length : 0)
}
