import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { FileSystem, JournalFile } from './file-system.ts'

const FLAGS = { append: 'a', create: 'w', exclusive: 'wx' } as const

/** Readable by the owner alone: tokens are no secrets, but nobody else's business either. */
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
  list: readdir,
  read: async path => {
    try {
      return await readFile(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  },
  open: openFile,
  rename,
  remove: path => rm(path, { force: true }),
  syncDirectory,
}

async function openFile(path: string, mode: keyof typeof FLAGS): Promise<JournalFile> {
  const handle = await open(join(path), FLAGS[mode], FILE_MODE)
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

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
