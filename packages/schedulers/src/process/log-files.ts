import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { type FileHandle, open, readdir, realpath, stat } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { schedulerError } from '../errors.ts'
import { LOG_PIECE_BYTES_MAX, type LogEntry, type LogPiece, type LogRange } from '../scheduler.ts'
import type { UserIdentity } from './run-as-user.ts'

/** Of a failed instance's stderr, so much is shown. */
const STDERR_TAIL_BYTES_MAX = 2048
const STDERR_TAIL_LINES_MAX = 20
/** Entries of one directory listing. */
const LOG_ENTRIES_MAX = 1000
const COPY_CHUNK_BYTES = 1024 * 1024
/** Old copies kept of each of stdout and stderr. */
const LOG_COPIES_KEPT = 2

/** The files that an instance's output goes to. */
export const OUTPUT_NAMES = ['stdout', 'stderr'] as const

/**
 * Opens an output file for a child. Append mode: the child goes on writing at the right place after a rotation, and
 * after Waiter's death.
 */
export function openOutput(sandbox: string, name: string, owner: UserIdentity | null): number {
  const file = openSync(
    join(sandbox, name),
    constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW,
    0o600,
  )
  if (owner !== null) fchownSync(file, owner.uid, owner.gid)
  return file
}

/** Last lines of stderr: at most 20 lines and 2 KiB; empty when it cannot be read. */
export function readStderrTail(sandbox: string): string {
  let file = -1
  try {
    file = openOwnFile(join(sandbox, 'stderr'), constants.O_RDONLY)
    const { size } = fstatSync(file)
    const from = Math.max(0, size - STDERR_TAIL_BYTES_MAX)
    const buffer = Buffer.alloc(Math.min(size, STDERR_TAIL_BYTES_MAX))
    const bytes = readSync(file, buffer, 0, buffer.length, from)
    return lastLines(buffer.subarray(firstWholeCharacter(buffer, from), bytes).toString('utf8'))
  } catch {
    return ''
  } finally {
    if (file >= 0) closeSync(file)
  }
}

function lastLines(text: string): string {
  const lines = text.trimEnd().split('\n').slice(-STDERR_TAIL_LINES_MAX)
  const joined = lines.join('\n')
  // Replacement characters are longer than the broken bytes they stand for.
  const cut = Buffer.byteLength(joined) - STDERR_TAIL_BYTES_MAX
  return cut > 0
    ? Buffer.from(joined)
        .subarray(cut)
        .toString('utf8')
        .replace(/^\ufffd+/, '')
    : joined
}

/** Skips the rest of a character that the cut went through. */
function firstWholeCharacter(buffer: Buffer, from: number): number {
  if (from === 0) return 0
  let at = 0
  while (at < 4 && ((buffer[at] ?? 0) & 0xc0) === 0x80) at += 1
  return at
}

/**
 * Keeps an output file below `bytesMax` by copying its newest part to `<name>.1` and truncating it in place; the
 * writer keeps its descriptor. Lines written between copy and truncation are lost.
 */
export async function rotateOutput(sandbox: string, name: string, bytesMax: number): Promise<boolean> {
  const path = join(sandbox, name)
  try {
    if (lstatSync(path).size <= bytesMax) return false
  } catch {
    return false // removed by the instance
  }
  const source = openOwnFile(path, constants.O_RDWR)
  try {
    await copyTail(source, `${path}.new`, bytesMax)
    for (let copy = LOG_COPIES_KEPT; copy > 1; copy--) moveIfPresent(`${path}.${copy - 1}`, `${path}.${copy}`)
    renameSync(`${path}.new`, `${path}.1`)
    ftruncateSync(source, 0)
    return true
  } finally {
    closeSync(source)
  }
}

async function copyTail(source: number, path: string, bytesMax: number): Promise<void> {
  rmSync(path, { force: true, recursive: true })
  const target: FileHandle = await open(path, 'wx', 0o600)
  try {
    const { size, uid, gid } = fstatSync(source)
    await target.chown(uid, gid)
    const chunk = Buffer.allocUnsafe(COPY_CHUNK_BYTES)
    for (let at = Math.max(0, size - bytesMax); at < size; ) {
      const bytes = readSync(source, chunk, 0, Math.min(chunk.length, size - at), at)
      if (bytes === 0) break
      await target.write(chunk, 0, bytes)
      at += bytes
    }
  } finally {
    await target.close()
  }
}

function moveIfPresent(from: string, to: string): void {
  try {
    renameSync(from, to)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
  }
}

/**
 * Opens a file that an instance could have replaced: no links to elsewhere, no pipes that block. Waiter may be root
 * where the instance is not.
 */
function openOwnFile(path: string, mode: number): number {
  const file = openSync(path, mode | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  const stats = fstatSync(file)
  if (stats.isFile() && stats.nlink === 1) return file
  closeSync(file)
  throw new Error(`${path} is not a plain file`)
}

/**
 * Lists a directory below `sandbox`, sorted by name. Links that lead outside are left out.
 *
 * @throws WaiterError `WTR_BAD_PATH` when `path` leaves the working directory, directly or through a link, or is not
 * a directory
 */
export async function listLogs(sandbox: string, path: string): Promise<readonly LogEntry[]> {
  const { root, real } = await confine(sandbox, path)
  const names = await readdir(real).catch(() => null)
  if (names === null) throw badPath(path)
  const entries: LogEntry[] = []
  for (const name of names.sort().slice(0, LOG_ENTRIES_MAX)) {
    const entry = await describeEntry(root, join(real, name), name)
    if (entry !== null) entries.push(entry)
  }
  return entries
}

/**
 * Reads a piece of a file below `sandbox`.
 *
 * @throws WaiterError `WTR_BAD_PATH` when `path` leaves the working directory, directly or through a link, or is not
 * a plain file
 */
export async function readLogPiece(sandbox: string, path: string, { offset, length }: LogRange): Promise<LogPiece> {
  const { real } = await confine(sandbox, path, 'file')
  // Opened without following a link that the instance may have put there since, and looked at once it is open.
  const file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => null)
  if (file === null) throw badPath(path, 'file')
  try {
    const stats = await file.stat()
    const opened = await realpath(`/proc/self/fd/${file.fd}`).catch(() => null)
    const { root } = await confine(sandbox, '')
    // A hard link may name a file of somebody else, which Waiter may be able to read where the instance is not.
    if (!stats.isFile() || stats.nlink > 1 || opened === null || !isWithin(root, opened)) throw badPath(path, 'file')
    const wanted = Math.max(0, Math.min(length, LOG_PIECE_BYTES_MAX, stats.size - offset))
    const buffer = Buffer.alloc(wanted)
    const { bytesRead } = await file.read(buffer, 0, wanted, offset)
    return { content: buffer.subarray(0, bytesRead), size: stats.size }
  } finally {
    await file.close()
  }
}

/** Where a relative path really leads. @throws WaiterError `WTR_BAD_PATH` when that is outside */
async function confine(
  sandbox: string,
  path: string,
  kind: 'directory' | 'file' = 'directory',
): Promise<{ readonly root: string; readonly real: string }> {
  const root = await realpath(sandbox).catch(() => null)
  if (root === null) throw schedulerError('WTR_BAD_PATH', 'The working directory of this instance has been removed.')
  const wanted = resolve(root, `.${sep}${path}`)
  const real = path.includes('\0') || !isWithin(root, wanted) ? null : await realpath(wanted).catch(() => null)
  if (real === null || !isWithin(root, real)) throw badPath(path, kind)
  return { root, real }
}

async function describeEntry(root: string, path: string, name: string): Promise<LogEntry | null> {
  const target = await realpath(path).catch(() => null)
  if (target === null || !isWithin(root, target)) return null
  const stats = await stat(target).catch(() => null)
  if (stats === null) return null
  const shown = relative(root, path)
  if (stats.isDirectory()) return { name, type: 'directory', path: shown }
  return stats.isFile() ? { name, type: 'file', size: stats.size, path: shown } : null
}

function isWithin(root: string, path: string): boolean {
  return path === root || path.startsWith(root + sep)
}

function badPath(path: string, kind: 'directory' | 'file' = 'directory'): Error {
  return schedulerError(
    'WTR_BAD_PATH',
    `${JSON.stringify(path)} is not a ${kind} within the working directory of this instance; give a relative path.`,
  )
}
