import { readFile } from 'node:fs/promises'
import { openForAppending, nodeFileSystem as raftFileSystem } from 'raft-ts/node'
import type { FileSystem } from './file-system.ts'

/** The real file system: what the Raft log does with it, and whole files. Files are readable by the owner alone. */
export const nodeFileSystem: FileSystem = {
  makeDirectory: raftFileSystem.makeDirectory,
  list: raftFileSystem.list,
  read: async path => {
    try {
      return await readFile(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  },
  open: openForAppending,
  rename: raftFileSystem.rename,
  remove: raftFileSystem.remove,
  syncDirectory: raftFileSystem.syncDirectory,
}
