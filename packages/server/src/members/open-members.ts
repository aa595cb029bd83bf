import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Logger, WaiterError } from '@waiter/base'
import type { DataPaths } from '../data-directory.ts'
import { syncDirectory } from '../write-durably.ts'
import { exportJournal, hasJournal, highestTermOf } from './import-journal.ts'
import { type MembersFile, readMembersFile, type StoredMember, writeMembersFile } from './members-file.ts'
import { type Newcomer, planMembers, withMember } from './plan-members.ts'

const GROUP_BYTES = 16

/** The members of this host, as its data directory has them. */
export interface Members {
  readonly file: MembersFile
  /** Nodes to which the group is to give ids. */
  readonly newcomers: readonly Newcomer[]
  /** Nodes that are to leave the group. */
  readonly unwanted: readonly string[]
  /** Where a member keeps its log. */
  directoryOf(id: number): string
  /** What the founders begin with; undefined: nothing. */
  readonly firstStateFile: string | undefined
  /** The group has given a node this id. */
  add(id: number, node: string): void
  /** All members have begun: what was needed for that is put away. */
  haveStarted(): void
  /** The leader has let this member go: nothing of it is kept, and its id is not used again. */
  forget(id: number): void
}

export interface OpenMembersOptions {
  readonly data: DataPaths
  /** Those that are to have a control process. */
  readonly nodes: readonly string[]
  /** The group to belong to; absent: the one that the directory knows, else a new one. */
  readonly group?: string | undefined
  /** Members on other hosts may have the majority. */
  readonly hasOthers: boolean
  readonly log: Logger
}

/**
 * Finds out who is to run, founds the group on the first start, and takes over what a single control node of an earlier
 * Waiter kept. Whatever a start that died has left half done is done again or finished.
 *
 * @throws WaiterError WTR_DATA_DIR when too much is missing
 */
export async function openMembers({ data, nodes, group, hasOthers, log }: OpenMembersOptions): Promise<Members> {
  const file = membersFileOf(data)
  const firstStateFile = join(data.raft, 'first-state.json')
  const directoryOf = (id: number): string => join(data.raft, String(id))
  mkdirSync(data.raft, { recursive: true, mode: 0o700 })
  const stored = fitting(readMembersFile(file), group)
  const isImport = stored === undefined && hasJournal(data.store)
  if (isImport) await exportJournal(data.store, firstStateFile, log)
  const plan = planMembers(stored, nodes, {
    founding: () => ({
      group: randomBytes(GROUP_BYTES).toString('hex'),
      term: highestTermOf(data.path) + 1,
      hasFirstState: isImport,
    }),
    hasDirectory: id => existsSync(directoryOf(id)) && readdirSync(directoryOf(id)).length > 0,
    hasOthers,
  })
  if ('lost' in plan) throw membersLost(plan.lost.map(directoryOf), file)
  let current = plan.file
  const save = (next: MembersFile): void => {
    current = next
    writeMembersFile(file, next)
  }
  save(current)
  return {
    get file() {
      return current
    },
    newcomers: plan.newcomers,
    unwanted: plan.unwanted,
    directoryOf,
    get firstStateFile() {
      return current['has-first-state'] ? firstStateFile : undefined
    },
    add: (id, node) => save(withMember(current, { id, node, 'has-started': false })),
    haveStarted: () => {
      const members = current.members.map((member): StoredMember => ({ ...member, 'has-started': true }))
      save({ ...current, members, 'has-first-state': false })
      rmSync(firstStateFile, { force: true })
      putJournalAway(data)
    },
    forget: id => {
      save({ ...current, members: current.members.filter(member => member.id !== id) })
      rmSync(directoryOf(id), { recursive: true, force: true })
    },
  }
}

export function membersFileOf({ path }: DataPaths): string {
  return join(path, 'members.json')
}

/** What the directory knows must be of the group that this host is to belong to. */
function fitting(stored: MembersFile | undefined, group: string | undefined): MembersFile | undefined {
  if (group === undefined || stored?.group === group) return stored
  if (stored === undefined || stored.members.length === 0) return emptyFile(group)
  throw new WaiterError(
    'this data directory belongs to another cluster than the one to join, and has its tokens: start without --join, or with ' +
      'another --data-dir',
    { code: 'WTR_WRONG_CLUSTER' },
  )
}

/** Of a host that joins a group which another one has founded. */
function emptyFile(group: string): MembersFile {
  return {
    ...{ format: 1, group, 'first-members': [], 'first-term': 1, 'has-first-state': false },
    ...{ 'next-id': 1, members: [] },
  }
}

/** Kept as a backup, under a name that no Waiter takes for its own. */
function putJournalAway({ path, store }: DataPaths): void {
  if (!hasJournal(store)) return
  const backup = join(path, 'store-before-raft')
  if (existsSync(backup)) return
  renameSync(store, backup)
  syncDirectory(path)
}

function membersLost(directories: readonly string[], file: string): WaiterError {
  return new WaiterError(
    `the directories ${directories.join(', ')} are missing or empty, and without them the control nodes have no ` +
      'majority: tokens could be lost. Restore them from a backup. If they are gone for good, keep a copy of the data ' +
      `directory, then remove ${file} and ${directories.length === 1 ? 'the directory' : 'what is left of the directory'} ` +
      '`raft`: Waiter starts without any token.',
    { code: 'WTR_DATA_DIR' },
  )
}
