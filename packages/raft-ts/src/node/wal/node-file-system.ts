import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { AppendFile, FileSystem, ReadFile } from './file-system.ts'

const FLAGS = { append: 'a', create: 'w' } as const
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
  open: openAppend,
  openRead,
  rename,
  remove: path => rm(path, { force: true }),
  syncDirectory,
}

async function openAppend(path: string, mode: keyof typeof FLAGS): Promise<AppendFile> {
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

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
