import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from '@waiter/base'
import { storeUnavailable } from '../errors.ts'
import type { FileSystem } from './file-system.ts'

/** Tells processes apart, also across restarts of the machine and the re-use of process ids. */
export interface ProcessTable {
  /** Names this process for ever. */
  readonly self: string
  /** Whether the process so named still runs. */
  isRunning(identity: string): boolean
}

/** The real processes. An identity is `pid start-time boot-id`; without /proc only the pid counts. */
export const nodeProcesses: ProcessTable = {
  get self() {
    return identityOf(process.pid)
  },
  isRunning: identity => {
    const pid = Number(identity.split(' ')[0])
    if (!Number.isSafeInteger(pid) || pid <= 0) return false
    try {
      process.kill(pid, 0)
    } catch (error) {
      // EPERM: it runs, and belongs to somebody else.
      if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
    }
    return identityOf(pid) === identity
  },
}

/** Where the lock is, and what it needs. */
export interface LockOrder {
  readonly directory: string
  readonly fileSystem: FileSystem
  readonly processes: ProcessTable
  readonly log: Logger
}

const LOCK_FILE = 'lock'
const ATTEMPTS_MAX = 5

/**
 * Takes the directory for this process; the answer gives it back.
 *
 * @throws {WaiterError} `WTR_STORE_UNAVAILABLE` naming the process that has it
 */
export async function acquireLock({ directory, fileSystem, processes, log }: LockOrder): Promise<() => Promise<void>> {
  const path = join(directory, LOCK_FILE)
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    if (await tryCreate(fileSystem, path, processes.self)) return () => fileSystem.remove(path)
    const holder = (await fileSystem.read(path))?.toString()
    if (holder === undefined) continue
    if (processes.isRunning(holder)) {
      throw storeUnavailable(
        `The store in ${directory} is in use by process ${holder.split(' ')[0]}. Stop that process, or give this one ` +
          'a directory of its own.',
      )
    }
    log.warn({ file: path, holder }, 'removing the lock of a process that no longer runs')
    await removeStale(fileSystem, path, holder)
  }
  throw storeUnavailable(`The lock ${path} changes hands too fast. Is somebody restarting in a loop?`)
}

async function tryCreate(fileSystem: FileSystem, path: string, self: string): Promise<boolean> {
  try {
    const file = await fileSystem.open(path, 'exclusive')
    await file.append(Buffer.from(self))
    await file.close()
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Moves it aside first: of two that found the same stale lock only one can, and it sees if it took another's. */
async function removeStale(fileSystem: FileSystem, path: string, holder: string): Promise<void> {
  const aside = `${path}.${randomUUID()}.tmp`
  try {
    await fileSystem.rename(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if ((await fileSystem.read(aside))?.toString() === holder) await fileSystem.remove(aside)
  else await fileSystem.rename(aside, path)
}

const STATE_FIELD = 0
const START_TIME_FIELD = 19

/** A zombie has ended, only its parent has not asked how: it holds nothing any more, so it has no start time here. */
function identityOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the program's name in parentheses and may hold anything: count from its end.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (/^[ZXx]$/.test(fields[STATE_FIELD] ?? '')) return String(pid)
    const startTime = fields[START_TIME_FIELD]
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${pid} ${startTime} ${bootId}`
  } catch {
    return String(pid)
  }
}
