import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Logger, WaiterError } from '@waiter/base'
import type { DataPaths } from '../data-directory.ts'
import { syncDirectory } from '../write-durably.ts'
import { exportJournal, hasJournal, highestTermOf } from './import-journal.ts'
import { type MembersFile, readMembersFile, type StoredMember, writeMembersFile } from './members-file.ts'
import { planMembers } from './plan-members.ts'

const GROUP_BYTES = 16

/** The members of this machine, as its data directory has them. */
export interface Members {
  readonly file: MembersFile
  readonly wanted: readonly number[]
  /** Where a member keeps its log. */
  directoryOf(id: number): string
  /** What the founders begin with; undefined: nothing. */
  readonly firstStateFile: string | undefined
  /** All members have begun: what was needed for that is put away. */
  haveStarted(): void
  /** The leader has let this member go: nothing of it is kept, and its id is not used again. */
  forget(id: number): void
}

/**
 * Finds out who is to run, founds the group on the first start, and takes over what a single control node of an earlier
 * Waiter kept. Whatever a start that died has left half done is done again or finished.
 *
 * @throws WaiterError WTR_DATA_DIR when too much is missing
 */
export async function openMembers(data: DataPaths, nodes: readonly string[], log: Logger): Promise<Members> {
  const file = join(data.path, 'members.json')
  const firstStateFile = join(data.raft, 'first-state.json')
  const directoryOf = (id: number): string => join(data.raft, String(id))
  mkdirSync(data.raft, { recursive: true, mode: 0o700 })
  const stored = readMembersFile(file)
  const isImport = stored === undefined && hasJournal(data.store)
  if (isImport) await exportJournal(data.store, firstStateFile, log)
  const plan = planMembers(stored, nodes, {
    founding: () => ({
      group: randomBytes(GROUP_BYTES).toString('hex'),
      term: highestTermOf(data.path) + 1,
      hasFirstState: isImport,
    }),
    hasDirectory: id => existsSync(directoryOf(id)) && readdirSync(directoryOf(id)).length > 0,
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
    wanted: plan.wanted,
    directoryOf,
    get firstStateFile() {
      return current['has-first-state'] ? firstStateFile : undefined
    },
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
