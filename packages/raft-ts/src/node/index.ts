/**
 * # raft-ts/node
 *
 * What the core needs of Node: storage that keeps promises across crashes. `WalStorage` is a write-ahead log in
 * segments with group commit and checked records; `MemoryLogStorage` is the same port without a disk.
 */
export { type LogFile, type LogFolder, openFolder } from './storage/file-system.ts'
export type { DurableState, LogBatch, LogStorage } from './storage/log-storage.ts'
export { MemoryLogStorage } from './storage/memory-log-storage.ts'
export { type WalOptions, WalStorage } from './storage/wal-storage.ts'
