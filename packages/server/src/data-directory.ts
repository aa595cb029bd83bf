import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { WaiterError } from '@waiter/base'
import { type HostIdentity, openHost } from './host.ts'
import { writeDurably } from './write-durably.ts'

/** Where one cluster on this machine keeps everything. */
export interface DataPaths {
  readonly path: string
  readonly logs: string
  /** Which host this is, and where the control nodes of all hosts are. */
  readonly host: string
  readonly controls: string
  /** Where a single control node of an earlier Waiter kept what is in `raft` now. */
  readonly store: string
  /** The logs of the control nodes, one directory for each. */
  readonly raft: string
  readonly scheduler: string
}

/** The directory, taken for this process. */
export interface DataDirectory {
  readonly paths: DataPaths
  /** Which host it belongs to; `host.json`. */
  readonly host: HostIdentity
  /** Shared by the nodes of the cluster; proves membership. Created once, readable by the owner only. */
  readonly clusterSecret: string
  /** Gives the directory back to the next start. */
  release(): void
}

const SECRET_BYTES = 32

/**
 * Makes the directory ready and takes it for this process.
 *
 * @throws WaiterError WTR_DATA_DIR when it cannot be written or another Waiter uses it
 */
export function openDataDirectory(path: string, terms: SecretTerms = {}): DataDirectory {
  try {
    for (const name of ['', 'logs', 'raft', 'scheduler']) mkdirSync(join(path, name), { recursive: true, mode: 0o700 })
    const release = takeLock(join(path, 'lock'), path)
    return {
      paths: {
        path,
        logs: join(path, 'logs'),
        host: join(path, 'host.json'),
        controls: join(path, 'controls.json'),
        store: join(path, 'store'),
        raft: join(path, 'raft'),
        scheduler: join(path, 'scheduler'),
      },
      host: openHost(join(path, 'host.json')),
      clusterSecret: openSecret(join(path, 'cluster-secret'), terms),
      release,
    }
  } catch (error) {
    if (error instanceof WaiterError) throw error
    throw new WaiterError(
      `cannot use the data directory ${path}: ${(error as Error).message}. Choose another with --data-dir DIR`,
      { code: 'WTR_DATA_DIR', cause: error },
    )
  }
}

/** A lock that a dead owner cannot hold: pid and start time of the owner, compared with /proc. */
function takeLock(file: string, directory: string): () => void {
  const owner = readOwner(file)
  if (owner !== undefined && owner.pid !== process.pid && startTimeOf(owner.pid) === owner.startTime)
    throw new WaiterError(
      `the data directory ${directory} is in use by process ${owner.pid}: stop that Waiter or choose another --data-dir`,
      { code: 'WTR_DATA_DIR' },
    )
  const mine = JSON.stringify({ pid: process.pid, startTime: startTimeOf(process.pid) })
  writeDurably(file, mine, 0o600)
  return () => {
    if (readOwner(file)?.pid === process.pid) rmSync(file, { force: true })
  }
}

function readOwner(file: string): { pid: number; startTime: string } | undefined {
  try {
    const owner: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (typeof owner !== 'object' || owner === null || !('pid' in owner) || !('startTime' in owner)) return undefined
    return typeof owner.pid === 'number' && typeof owner.startTime === 'string'
      ? { pid: owner.pid, startTime: owner.startTime }
      : undefined
  } catch {
    return undefined
  }
}

/**
 * Field 22 of /proc/PID/stat: distinguishes a process from a later one with the same pid. Undefined: no such process,
 * or a zombie, which has ended (in a container whose first process does not reap, zombies stay for ever).
 */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Behind the name, which may hold anything: the state first, the start time 19 fields later.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return /^[ZXx]$/.test(fields[0] ?? '') ? undefined : fields[19]
  } catch {
    return undefined
  }
}

/** Where a cluster's secret comes from. */
export interface SecretTerms {
  /** A copy of another host's. */
  readonly secretFile?: string | undefined
  /** One made here would be nobody else's. */
  readonly isShared?: boolean
}

function openSecret(file: string, { secretFile, isShared = false }: SecretTerms): string {
  const given = secretFile === undefined ? undefined : readGivenSecret(secretFile)
  if (!existsSync(file)) {
    if (given === undefined && isShared)
      throw new WaiterError(
        'a host that joins a cluster needs its secret: --secret-file FILE, a copy of the file cluster-secret in the data ' +
          'directory of any host of the cluster (or password-store-config)',
        { code: 'WTR_NO_SECRET' },
      )
    writeDurably(file, given ?? randomBytes(SECRET_BYTES).toString('hex'), 0o600)
  }
  const secret = readFileSync(file, 'utf8').trim()
  if (!SECRET.test(secret))
    throw new WaiterError(`${file} is damaged: restore it, or remove it to make a new one (nodes must share it)`, {
      code: 'WTR_DATA_DIR',
    })
  if (given !== undefined && given !== secret)
    throw new WaiterError(`--secret-file ${secretFile}: this data directory has another secret already (${file})`, {
      code: 'WTR_DATA_DIR',
    })
  chmodSync(file, 0o600)
  return secret
}

const SECRET = /^[0-9a-f]{64}$/

function readGivenSecret(file: string): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new WaiterError(`--secret-file ${file}: ${(error as Error).message}`, { code: 'WTR_USAGE', cause: error })
  }
  if (SECRET.test(text)) return text
  throw new WaiterError(`--secret-file ${file}: not a copy of a file cluster-secret (64 hexadecimal digits)`, {
    code: 'WTR_USAGE',
  })
}
