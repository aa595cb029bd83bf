import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** A file that only grows. */
export interface LogFile {
  append(bytes: Uint8Array): Promise<void>
  /** Resolves when everything appended is on the disk itself. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** The few things a log needs of one folder; small enough to be simulated with every way a crash can tear it. */
export interface LogFolder {
  list(): Promise<readonly string[]>
  read(name: string): Promise<Uint8Array>
  /** A new, empty file. */
  create(name: string): Promise<LogFile>
  /** Cuts a file and makes that durable. */
  truncate(name: string, length: number): Promise<void>
  rename(from: string, to: string): Promise<void>
  remove(name: string): Promise<void>
  /** Makes names durable: files created, renamed or removed since. */
  sync(): Promise<void>
}

/** A folder on the disk; made if it is not there. */
export async function openFolder(path: string): Promise<LogFolder> {
  await mkdir(path, { recursive: true })
  return {
    list: () => readdir(path),
    read: async name => {
      const { buffer, byteOffset, byteLength } = await readFile(join(path, name))
      return new Uint8Array(buffer, byteOffset, byteLength)
    },
    create: async name => asLogFile(await open(join(path, name), 'wx')),
    truncate: async (name, length) => {
      await using file = await open(join(path, name), 'r+')
      await file.truncate(length)
      await file.sync()
    },
    rename: (from, to) => rename(join(path, from), join(path, to)),
    remove: name => rm(join(path, name)),
    sync: async () => {
      await using folder = await open(path, 'r')
      await folder.sync()
    },
  }
}

function asLogFile(file: FileHandle): LogFile {
  return {
    append: async bytes => {
      for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done)).bytesWritten
    },
    // The length is metadata that datasync writes too, when it is needed to read the data.
    sync: () => file.datasync(),
    close: () => file.close(),
  }
}
