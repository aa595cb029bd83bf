import type { Logger } from '@waiter/base'
import type { ProcessEntry, ProcessSnapshot, ProcessTable } from './process-table.ts'
import { isAlive } from './process-table.ts'
import { type Timers, waitAtMost } from './timers.ts'

/** What makes a process belong to an instance. */
export interface ProcessTree {
  /** The instance's main process, leader of its own session and group; null before it is known. */
  readonly pid: number | null
  readonly startTicks: number | null
  /** The instance's working directory, which `WAITER_SANDBOX` names in everything it starts. */
  readonly sandbox: string
  /** Processes seen to belong before, as {@link processKey}: they stay members when they leave session and parent. */
  known: ReadonlySet<string>
}

/** Names one process of this boot. */
export function processKey(entry: { readonly pid: number; readonly startTicks: number }): string {
  return `${entry.pid}@${entry.startTicks}`
}

/**
 * Finds the living processes of every tree in one pass over the snapshot.
 *
 * A process belongs when it was seen to belong before, when its session is the instance's, when its environment names
 * the instance's directory, or when its parent belongs. A daemon that forks twice, opens its own session *and* wipes
 * its environment between two scans escapes; only a cgroup could hold it.
 */
export function findMembers(
  snapshot: ProcessSnapshot,
  trees: Iterable<ProcessTree>,
): Map<ProcessTree, readonly ProcessEntry[]> {
  const index = indexTrees(snapshot, trees)
  const ownerByPid = new Map<number, ProcessTree | null>()
  const members = new Map<ProcessTree, ProcessEntry[]>()
  for (const tree of index.trees) members.set(tree, [])
  for (const entry of snapshot.values()) {
    const owner = findOwner(snapshot, index, ownerByPid, entry)
    if (owner !== null && !entry.isZombie) members.get(owner)?.push(entry)
  }
  for (const [tree, entries] of members) tree.known = new Set(entries.map(processKey))
  return members
}

interface TreeIndex {
  readonly trees: readonly ProcessTree[]
  readonly byKnown: ReadonlyMap<string, ProcessTree>
  readonly bySession: ReadonlyMap<number, ProcessTree>
  readonly bySandbox: ReadonlyMap<string, ProcessTree>
}

function indexTrees(snapshot: ProcessSnapshot, trees: Iterable<ProcessTree>): TreeIndex {
  const byKnown = new Map<string, ProcessTree>()
  const bySession = new Map<number, ProcessTree>()
  const bySandbox = new Map<string, ProcessTree>()
  const all = [...trees]
  for (const tree of all) {
    bySandbox.set(tree.sandbox, tree)
    for (const key of tree.known) byKnown.set(key, tree)
    if (tree.pid === null) continue
    // A later process that was given the same pid makes the session number meaningless.
    const leader = snapshot.get(tree.pid)
    if (leader === undefined || leader.startTicks === tree.startTicks) bySession.set(tree.pid, tree)
  }
  return { trees: all, byKnown, bySession, bySandbox }
}

function findOwner(
  snapshot: ProcessSnapshot,
  index: TreeIndex,
  ownerByPid: Map<number, ProcessTree | null>,
  entry: ProcessEntry,
): ProcessTree | null {
  const decided = ownerByPid.get(entry.pid)
  if (decided !== undefined) return decided
  ownerByPid.set(entry.pid, null) // ends cycles, which a snapshot taken over time may show
  if (entry.pid === process.pid) return null
  const owner =
    index.byKnown.get(processKey(entry)) ??
    (entry.sandbox === null ? undefined : index.bySandbox.get(entry.sandbox)) ??
    ownerBySession(index, entry) ??
    ownerByParent(snapshot, index, ownerByPid, entry)
  ownerByPid.set(entry.pid, owner)
  return owner
}

function ownerBySession(index: TreeIndex, entry: ProcessEntry): ProcessTree | undefined {
  const tree = index.bySession.get(entry.session)
  return tree !== undefined && entry.startTicks >= (tree.startTicks ?? 0) ? tree : undefined
}

function ownerByParent(
  snapshot: ProcessSnapshot,
  index: TreeIndex,
  ownerByPid: Map<number, ProcessTree | null>,
  entry: ProcessEntry,
): ProcessTree | null {
  const parent = entry.parentPid > 1 ? snapshot.get(entry.parentPid) : undefined
  return parent === undefined ? null : findOwner(snapshot, index, ownerByPid, parent)
}

/** First look after a signal; most processes die within it. */
const POLL_FIRST_MS = 2
const POLL_GROWTH = 1.5
const POLL_MAX_MS = 100
/** A process that survives SIGKILL this long sits in the kernel (a dead disk or NFS server): say so. */
const UNKILLABLE_WARNING_MS = 10_000

/** What {@link stopTree} works with. */
export interface StopTreeDependencies {
  readonly table: ProcessTable
  readonly timers: Timers
  readonly log: Logger
  /** Resolves when the main process has exited; an early wake-up, not a condition. */
  readonly exited: Promise<unknown>
  /** True when the scheduler has been closed: give up without touching anything more. */
  isClosed(): boolean
}

/**
 * Stops everything that belongs to a tree: SIGTERM to the whole group and to members outside it, SIGKILL after
 * `graceMs`. Resolves with true when nothing of it runs any more, with false when the scheduler closed meanwhile.
 */
export async function stopTree(tree: ProcessTree, graceMs: number, deps: StopTreeDependencies): Promise<boolean> {
  const { timers } = deps
  const killAtMs = timers.nowMs() + graceMs
  const terminated = new Set<string>()
  let warnAtMs = killAtMs + UNKILLABLE_WARNING_MS
  let pollMs = POLL_FIRST_MS
  let exited = deps.exited
  // At once and before any scan: the common case ends with this. Not when the leader is gone: its number may be another's.
  let groupIsSignalled = tree.pid !== null && tree.startTicks !== null && isAlive(tree.pid, tree.startTicks)
  if (groupIsSignalled) signalGroup(tree, 'SIGTERM')
  for (;;) {
    if (deps.isClosed()) return false
    const members = findMembers(await deps.table.scan(), [tree]).get(tree) ?? []
    if (members.length === 0) return true
    if (deps.isClosed()) return false
    const nowMs = timers.nowMs()
    if (nowMs >= killAtMs) signalMembers(tree, members, 'SIGKILL')
    else {
      if (!groupIsSignalled && members.some(entry => entry.group === tree.pid)) signalGroup(tree, 'SIGTERM')
      groupIsSignalled = true
      terminateNew(tree, members, terminated)
    }
    if (nowMs >= warnAtMs) {
      deps.log.warn({ pids: members.map(entry => entry.pid) }, 'processes survive SIGKILL; still waiting')
      warnAtMs = nowMs + UNKILLABLE_WARNING_MS
    }
    const delayMs = nowMs < killAtMs ? Math.min(pollMs, killAtMs - nowMs) : pollMs
    await waitAtMost(timers, delayMs, exited)
    if (tree.pid === null || !isAlive(tree.pid, tree.startTicks ?? 0)) exited = new Promise(() => undefined)
    pollMs = Math.min(pollMs * POLL_GROWTH, POLL_MAX_MS)
  }
}

/** SIGTERM once per process: a second one makes some programs give up their orderly end. */
function terminateNew(tree: ProcessTree, members: readonly ProcessEntry[], terminated: Set<string>): void {
  for (const entry of members) {
    const key = processKey(entry)
    if (terminated.has(key)) continue
    terminated.add(key)
    if (entry.group !== tree.pid) signalOne(entry.pid, 'SIGTERM') // the group had its signal
  }
}

function signalMembers(tree: ProcessTree, members: readonly ProcessEntry[], signal: NodeJS.Signals): void {
  // The group is signalled as one, so that a process that forks all the time cannot outrun it. Its number cannot have
  // been given to anybody else while a member lives.
  if (members.some(entry => entry.group === tree.pid)) signalGroup(tree, signal)
  for (const entry of members) if (entry.group !== tree.pid) signalOne(entry.pid, signal)
}

function signalGroup(tree: ProcessTree, signal: NodeJS.Signals): void {
  if (tree.pid !== null && tree.pid > 1) signalOne(-tree.pid, signal)
}

/** Sends a signal; a process that is gone, or that changed its user, is not an error here: the next scan tells. */
function signalOne(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // ESRCH: gone. EPERM: not ours any more.
  }
}
