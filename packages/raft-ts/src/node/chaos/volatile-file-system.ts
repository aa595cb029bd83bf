import type { AppendFile, FileSystem } from '../wal/file-system.ts'
import { nodeFileSystem } from '../wal/node-file-system.ts'

/** A planted bug keeps so much in memory although it was told to sync. */
const UNSYNCED_BYTES_MAX = 1024 * 1024

/**
 * The real file system, except that what is appended stays in this process until it is synced. So kill -9 loses what a
 * power failure would lose, and nothing but a sync makes a promise last.
 */
export function createVolatileFileSystem(options: { readonly syncsForReal: boolean }): FileSystem {
  return {
    ...nodeFileSystem,
    open: async (path, mode) => volatile(await nodeFileSystem.open(path, mode), options.syncsForReal),
  }
}

function volatile(file: AppendFile, syncsForReal: boolean): AppendFile {
  let waiting: Uint8Array[] = []
  let bytes = 0
  let syncs = 0
  const flush = async (): Promise<void> => {
    const all = Buffer.concat(waiting)
    waiting = []
    bytes = 0
    if (all.length > 0) await file.append(all)
  }
  return {
    append: async piece => {
      waiting.push(Buffer.from(piece))
      bytes += piece.length
    },
    truncate: async length => {
      await flush()
      await file.truncate(length)
    },
    sync: async () => {
      // The first sync is that of a file's head, which a log would not start without.
      if (!syncsForReal && syncs++ > 0 && bytes < UNSYNCED_BYTES_MAX) return
      await flush()
      await file.sync()
    },
    close: async () => {
      await flush()
      await file.close()
    },
  }
}
