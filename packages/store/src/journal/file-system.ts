/**
 * What the journal asks of a file system. Narrow, so that tests can fail any call and lose whatever was not synced.
 * Nothing is durable before the named `sync`: neither bytes (the file's `sync`) nor names (`syncDirectory`).
 */
export interface FileSystem {
  /** Makes the directory and its parents, durably. No failure if it is there. */
  makeDirectory(path: string): Promise<void>
  /** The names in a directory. */
  list(directory: string): Promise<readonly string[]>
  /** The whole file; undefined when there is none. */
  read(path: string): Promise<Buffer | undefined>
  /** Opens for appending: `create` empties or makes it, `exclusive` fails with `EEXIST` if it is there. */
  open(path: string, mode: 'append' | 'create' | 'exclusive'): Promise<JournalFile>
  /** Atomic. */
  rename(from: string, to: string): Promise<void>
  /** No failure if it is gone. */
  remove(path: string): Promise<void>
  /** Makes creations, renames and removals in the directory durable. */
  syncDirectory(directory: string): Promise<void>
}

/** A file open for appending. */
export interface JournalFile {
  /** Appends all bytes or fails. */
  append(bytes: Uint8Array): Promise<void>
  /** Cuts the file to a length. */
  truncate(bytes: number): Promise<void>
  /** Resolves when content and length are durable. */
  sync(): Promise<void>
  close(): Promise<void>
}
