import type { Logger } from '@waiter/base'
import { NO_DATA, type NodeId } from 'raft-ts'
import { VERSION } from '../version.ts'
import { nextMembersStep, type WantedMember } from './keep-members.ts'
import { keyOfMember, type MemberRecord, NEXT_ID_KEY } from './member-records.ts'
import type { RaftMember } from './raft-member.ts'

/** While something is to be changed, it is looked at this often; else when something has changed, or after this. */
const LOOK_MS = 100
const IDLE_LOOK_MS = 1_000
const TRANSFER_MS = 2_000

/** Who is to belong to the group, as the store says. */
export function toWanted({ records, book }: RaftMember): readonly WantedMember[] {
  return records.all.flatMap(({ id, record }): WantedMember[] => {
    const isReachable = (book.get(id)?.grpc ?? '') !== ''
    if (record.state === 'joining' && !isReachable) return []
    const isLeaving = record.state === 'leaving'
    return [{ id, hostId: record.host, state: !isLeaving ? 'staying' : record['is-forced'] ? 'gone' : 'leaving' }]
  })
}

export interface KeepOptions {
  readonly signal: AbortSignal
  /** Whether nothing is left on a host that is to leave. */
  readonly mayLeave: (hostId: string) => boolean
  /** A voter that has not been heard for so long learns, and another one votes, if one can; 0: never. */
  readonly replaceAfterMs: number
  readonly log: Logger
}

/**
 * Brings the members to what the store says, as long as this node leads, and the store to what is known of them. Ends
 * with `signal`.
 *
 * @param nextId no id from here on was ever given to anybody
 */
export async function keepMembers(member: RaftMember, nextId: number, options: KeepOptions): Promise<void> {
  const { signal, log } = options
  member.silence.begin(performance.now())
  const known = { hasNextId: false }
  while (!signal.aborted) {
    let isSettled = false
    try {
      if (!known.hasNextId) await ensureNextId(member, nextId)
      known.hasNextId = true
      isSettled = await look(member, options)
    } catch (error) {
      if (signal.aborted) return
      log.warn({ err: error }, 'the members could not be changed yet')
    }
    await pause(isSettled ? IDLE_LOOK_MS : LOOK_MS, signal, wake =>
      isSettled ? member.onMembersChange(wake) : undefined,
    )
  }
}

/** One look, one step. @returns whether nothing is to be done */
async function look(member: RaftMember, options: KeepOptions): Promise<boolean> {
  const { signal, mayLeave, replaceAfterMs, log } = options
  const { node } = member.store
  member.silence.note(performance.now(), node.status().progress)
  if (!member.records.isSynced) return false
  if (await tidyRecords(member)) return false
  const { hardState, progress } = node.status()
  const nowMs = performance.now()
  const silence = { ofMember: (id: NodeId) => member.silence.ofMember(id, nowMs), replaceAfterMs }
  const wanted = toWanted(member).map(one =>
    one.state === 'leaving' && !mayLeave(one.hostId) ? { ...one, state: 'staying' as const } : one,
  )
  const step = nextMembersStep(node.conf, wanted, { id: node.id, commit: hardState.commit, progress, silence })
  if (step === undefined) return true
  if (step.kind === 'change') {
    const { changes, replaced } = step
    log.info({ changes, conf: node.conf }, 'changing the members of the control group')
    if (replaced !== undefined)
      log.warn(
        { member: replaced, node: member.book.get(replaced)?.nodeId, silentMs: Math.round(silence.ofMember(replaced)) },
        'a voter has not been heard for long: another control node votes instead (cluster-config.replace-voter-after-ms)',
      )
    await node.changeMembers({ changes, transition: 'auto', context: NO_DATA }, { signal })
  } else if (step.kind === 'transfer') {
    log.info({ to: step.to }, 'this control node is not to vote any more: another one leads')
    await node.transferLeader(step.to, { signal, timeoutMs: TRANSFER_MS })
  }
  return false
}

/** The first leader of a group says which id comes next; it is never taken away. */
async function ensureNextId(member: RaftMember, nextId: number): Promise<void> {
  if ((await member.store.get(NEXT_ID_KEY)) !== undefined) return
  const next = Math.max(nextId, ...idsInGroup(member).map(id => id + 1))
  await member.store.compareAndSet(NEXT_ID_KEY, 0, String(next))
}

function idsInGroup({ store: { node } }: RaftMember): readonly number[] {
  const { voters, votersOutgoing, learners, learnersNext } = node.conf
  return [...voters, ...votersOutgoing, ...learners, ...learnersNext]
}

/** Writes into the store what this leader knows better. @returns whether there was anything */
async function tidyRecords(member: RaftMember): Promise<boolean> {
  const { store, records, book } = member
  const inGroup = idsInGroup(member)
  let hasWritten = false
  const write = async (key: string, expected: number, value: string | undefined): Promise<void> => {
    hasWritten = true
    await store.compareAndSet(key, expected, value)
  }
  for (const id of inGroup) {
    const known = book.get(id)
    if (records.get(id) !== undefined || known === undefined) continue
    const { nodeId: node, hostId: host, grpc, raft, sinceMs } = known
    const state = { release: VERSION, state: 'member' as const, 'is-forced': false }
    const record: MemberRecord = { node, host, grpc, raft, 'since-ms': sinceMs, ...state }
    await write(keyOfMember(id), 0, JSON.stringify(record))
  }
  for (const { id, version, record } of records.all) {
    const isIn = inGroup.includes(id)
    if (!isIn && record.state !== 'joining') {
      await write(keyOfMember(id), version, undefined)
      continue
    }
    const { grpc, raft, sinceMs } = book.get(id) ?? { ...record, sinceMs: record['since-ms'] }
    const state = isIn && record.state === 'joining' ? 'member' : record.state
    const next = JSON.stringify({ ...record, grpc, raft, 'since-ms': sinceMs, state } satisfies MemberRecord)
    if (next !== JSON.stringify(record)) await write(keyOfMember(id), version, next)
  }
  return hasWritten
}

/** @param subscribe what ends the pause early; returns what ends that */
function pause(
  ms: number,
  signal: AbortSignal,
  subscribe: (wake: () => void) => (() => void) | undefined,
): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) return resolve()
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      unsubscribe?.()
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end, { once: true })
    const unsubscribe = subscribe(end)
  })
}
