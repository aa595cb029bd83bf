import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import {
  type FileSystem,
  type LockOutcome,
  MemoryDisk,
  MemoryLogStorage,
  nodeFileSystem,
  openWal,
} from '../../src/node/index.ts'
import { FaultDisk } from './support/fault-disk.ts'
import { createLogStorageContract } from './support/log-storage-contract.ts'

createLogStorageContract(t, 'memory', () => {
  const disk = new MemoryDisk()
  return { crashesAnywhere: true, open: async () => new MemoryLogStorage(disk), crash: random => disk.crash(random) }
})

let salt = 0
for (const segmentBytesMax of [120, 1 << 20]) {
  createLogStorageContract(t, `write-ahead log, segments of ${segmentBytesMax} bytes`, () => {
    const disk = new FaultDisk()
    const newSalt = (): number => ++salt
    return {
      crashesAnywhere: true,
      open: () => openWal({ directory: '/raft', fileSystem: disk.open(), segmentBytesMax, newSalt }),
      crash: random => {
        disk.crash()
        disk.restart('any part is lost', random)
      },
    }
  })
}

createLogStorageContract(t, 'write-ahead log on the real file system', () => {
  const directory = mkdtempSync(join(tmpdir(), 'raft-wal-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  // The process goes, the power does not: everything written is there.
  let lock: LockOutcome | undefined
  const fileSystem: FileSystem = { ...nodeFileSystem, lock: async path => (lock = await nodeFileSystem.lock(path)) }
  return {
    crashesAnywhere: false,
    open: () => openWal({ directory, fileSystem, segmentBytesMax: 4096 }),
    crash: () => lock?.kind === 'locked' && lock.release(),
  }
})
