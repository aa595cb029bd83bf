/**
 * What the write-ahead log asks of a file system. Narrow, so that tests can fail any call and lose whatever was not
 * synced. Nothing is durable before the named sync: neither bytes (`AppendFile.sync`) nor names (`syncDirectory`).
 */
export interface FileSystem {
  /** Makes the directory and its parents, durably. No failure if it is there. */
  makeDirectory(path: string): Promise<void>
  /** The names in a directory. */
  list(directory: string): Promise<readonly string[]>
  /** Opens for appending: `create` empties or makes it. */
  open(path: string, mode: 'append' | 'create'): Promise<AppendFile>
  /** Opens for reading; undefined when there is none. What was open stays readable after a removal. */
  openRead(path: string): Promise<ReadFile | undefined>
  /** Atomic; replaces what was there. */
  rename(from: string, to: string): Promise<void>
  /** No failure if it is gone. */
  remove(path: string): Promise<void>
  /**
   * Takes a lock on a file, which is made if missing. One holder among all processes of the machine; the system gives it
   * back when the process ends, however it ends, so that there are no stale locks.
   */
  lock(path: string): Promise<LockOutcome>
  /** Makes creations, renames and removals in the directory durable. */
  syncDirectory(directory: string): Promise<void>
}

/** Either the lock, or who has it as far as is known. */
export type LockOutcome =
  | { readonly kind: 'locked'; release(): void }
  | { readonly kind: 'held'; readonly by: string | undefined }

/** A file open for appending. */
export interface AppendFile {
  /** Appends all bytes or fails. */
  append(bytes: Uint8Array): Promise<void>
  /** Cuts the file to a length. */
  truncate(bytes: number): Promise<void>
  /** Resolves when content and length are durable. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** A file open for reading. */
export interface ReadFile {
  readonly bytes: number
  /** Exactly `length` bytes from `offset`, fewer only at the end. */
  read(offset: number, length: number): Promise<Buffer>
  close(): Promise<void>
}
