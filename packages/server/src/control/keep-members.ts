import type { Logger } from '@waiter/base'
import { type ConfChangeSingle, type ConfState, NO_DATA, type NodeId, type ProgressStatus } from 'raft-ts'
import type { RaftNode } from 'raft-ts/node'

/** While something is to be changed, it is looked at this often. */
const LOOK_MS = 100
/** A newcomer becomes a voter when it is this close: its catching up must not hold up the others. */
const LAG_ENTRIES_MAX = 100

/** What the leader would do next about the members. Undefined: nothing. */
export type MembersStep =
  | { readonly kind: 'change'; readonly changes: readonly ConfChangeSingle[] }
  /** Newcomers are on their way. */
  | { readonly kind: 'wait' }

/**
 * Decides the next step from the members there are to those there should be: newcomers learn first, then all become
 * voters together, and who is not wanted leaves in the same step, so that the majority never depends on newcomers.
 */
export function nextMembersStep(
  conf: ConfState,
  wanted: readonly NodeId[],
  status: { readonly commit: number; readonly progress: readonly Pick<ProgressStatus, 'id' | 'match'>[] },
): MembersStep | undefined {
  if (conf.votersOutgoing.length > 0 || conf.learnersNext.length > 0) return { kind: 'wait' }
  const strangers = wanted.filter(id => !conf.voters.includes(id) && !conf.learners.includes(id))
  if (strangers.length > 0) return { kind: 'change', changes: strangers.map(id => ({ kind: 'addLearner', id })) }
  const newcomers = wanted.filter(id => !conf.voters.includes(id))
  const hasCaughtUp = (id: NodeId): boolean => {
    const match = status.progress.find(progress => progress.id === id)?.match ?? 0
    return match > 0 && match + LAG_ENTRIES_MAX >= status.commit
  }
  if (!newcomers.every(hasCaughtUp)) return { kind: 'wait' }
  const surplus = [...conf.voters, ...conf.learners].filter(id => !wanted.includes(id))
  const changes: ConfChangeSingle[] = [
    ...newcomers.map((id): ConfChangeSingle => ({ kind: 'addVoter', id })),
    ...surplus.map((id): ConfChangeSingle => ({ kind: 'remove', id })),
  ]
  return changes.length === 0 ? undefined : { kind: 'change', changes }
}

/** Brings the members to what is wanted, as long as this node leads. Ends with `signal`, or when there is nothing to do. */
export async function keepMembers<R>(
  node: RaftNode<R>,
  wanted: readonly NodeId[],
  options: { readonly signal: AbortSignal; readonly log: Logger },
): Promise<void> {
  const { signal, log } = options
  while (!signal.aborted) {
    const { hardState, progress } = node.status()
    const step = nextMembersStep(node.conf, wanted, { commit: hardState.commit, progress })
    if (step === undefined) return
    if (step.kind === 'change') {
      try {
        log.info({ changes: step.changes, conf: node.conf }, 'changing the members of the control group')
        await node.changeMembers({ changes: step.changes, transition: 'auto', context: NO_DATA }, { signal })
      } catch (error) {
        if (signal.aborted) return
        log.warn({ err: error }, 'the members could not be changed yet')
      }
    }
    await pause(LOOK_MS, signal)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) return resolve()
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end, { once: true })
  })
}
