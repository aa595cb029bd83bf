import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { AppendFile, FileSystem, LockOutcome, ReadFile } from './file-system.ts'

const FLAGS = { append: 'a', create: 'w', exclusive: 'wx' } as const
/** For the owner alone: what the log holds is nobody else's business. */
const FILE_MODE = 0o600
const DIRECTORY_MODE = 0o700

/** The real file system. */
export const nodeFileSystem: FileSystem = {
  makeDirectory: async path => {
    const topmost = await mkdir(path, { recursive: true, mode: DIRECTORY_MODE })
    if (topmost === undefined) return
    for (let made = resolve(path); ; made = dirname(made)) {
      await syncDirectory(dirname(made))
      if (made === resolve(topmost)) return
    }
  },
  list: directory => readdir(directory),
  open: openForAppending,
  openRead,
  rename,
  remove: path => rm(path, { force: true }),
  lock,
  syncDirectory,
}

/** `create` empties or makes the file, `exclusive` fails with `EEXIST` if it is there. */
export async function openForAppending(path: string, mode: keyof typeof FLAGS): Promise<AppendFile> {
  const handle = await open(path, FLAGS[mode], FILE_MODE)
  return {
    append: async bytes => {
      for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at)).bytesWritten
    },
    truncate: bytes => handle.truncate(bytes),
    // A change of length is needed to read the data back, so fdatasync writes it too.
    sync: () => handle.datasync(),
    close: () => handle.close(),
  }
}

async function openRead(path: string): Promise<ReadFile | undefined> {
  let handle: FileHandle
  try {
    handle = await open(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const { size } = await handle.stat()
  return {
    bytes: size,
    read: async (offset, length) => {
      const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - offset)))
      let at = 0
      while (at < buffer.length) {
        const { bytesRead } = await handle.read(buffer, at, buffer.length - at, offset + at)
        if (bytesRead === 0) break
        at += bytesRead
      }
      return buffer.subarray(0, at)
    },
    close: () => handle.close(),
  }
}

const SQLITE_BUSY = 5

/*
 * Node has no call for file locks. SQLite takes the kernel's own (fcntl) for an exclusive transaction: they cannot be
 * left behind by a killed process, and two takers at the same instant get one lock. Nothing is ever written to the file.
 */
async function lock(path: string): Promise<LockOutcome> {
  const owner = `${path}.owner`
  const database = new DatabaseSync(path)
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error
    return { kind: 'held', by: await readFile(owner, 'utf8').catch(() => undefined) }
  }
  // For the message only: who cannot write it (is the disk full?) has the lock all the same.
  await writeFile(owner, `process ${process.pid} on ${hostname()}`, { mode: FILE_MODE }).catch(() => undefined)
  return { kind: 'locked', release: () => database.close() }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
