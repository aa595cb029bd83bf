import type { Prng } from '@waiter/base'
import type { AppendFile, FileSystem, ReadFile } from '../../../src/node/index.ts'

/** What a power failure leaves of everything that was not synced. */
export type Loss =
  | 'everything unsynced is lost'
  | 'nothing is lost'
  | 'any part is lost'
  /** Only the process died: everything can be read, and what was not synced can still be lost. */
  | 'the power stayed on'

type FileChange =
  | { readonly kind: 'append'; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly length: number }

interface Inode {
  durable: Buffer
  current: Buffer
  unsynced: FileChange[]
}

interface NameChange {
  readonly sets: ReadonlyMap<string, Inode | undefined>
}

/** One thing that a power failure may undo. */
export type UnsyncedWrite =
  | { readonly kind: 'name'; readonly at: number }
  /** `isLast`: it appends, and nothing was written to the file after it. */
  | {
      readonly kind: 'write'
      readonly file: number
      readonly at: number
      readonly bytes: number
      readonly isLast: boolean
    }

const never = (): Promise<never> => new Promise(() => undefined)

/**
 * A disk in memory that forgets like a real one. It outlives the processes that open it: each gets a file system of its
 * own, which answers nothing any more once that process has crashed.
 */
export class FaultDisk {
  /** Calls that change something, over all processes. */
  calls = 0
  /** Told before each such call; may call `crash`, and the call then never comes back. */
  onCall: (call: number, what: string) => void = () => undefined
  /** The call with this number fails with this error. */
  failAt: { readonly call: number; readonly code: string } | undefined
  /** Syncs wait for this. */
  syncGate: Promise<void> | undefined
  #durableNames = new Map<string, Inode>()
  #names = new Map<string, Inode>()
  #unsyncedNames: NameChange[] = []
  #epoch = 0
  /** By path, in which epoch it was taken: who has crashed holds nothing. */
  readonly #locks = new Map<string, number>()
  #busy = 0

  /** Calls that have not come back, of processes that live. */
  get busy(): number {
    return this.#busy
  }

  /** The process dies. What it had called for may or may not have reached the disk. */
  crash(): void {
    this.#epoch++
    this.#busy = 0
  }

  /** The power comes back. */
  restart(loss: Loss, random: Prng): void {
    this.syncGate = undefined
    this.failAt = undefined
    if (loss === 'the power stayed on') return
    const survives = (): boolean => loss === 'nothing is lost' || (loss === 'any part is lost' && random.next() < 0.5)
    for (const change of this.#unsyncedNames) if (survives()) applyNames(this.#durableNames, change)
    if (loss === 'nothing is lost') this.#durableNames = new Map(this.#names)
    this.#names = new Map(this.#durableNames)
    this.#unsyncedNames = []
    for (const inode of new Set(this.#names.values())) {
      const content = loss === 'nothing is lost' ? inode.current : lose(inode, loss, random)
      inode.current = content
      inode.durable = content
      inode.unsynced = []
    }
  }

  /** Everything that is not durable: changes of names in their order, then writes to each file in theirs. */
  unsynced(): readonly UnsyncedWrite[] {
    const names = this.#unsyncedNames.map((_, at) => ({ kind: 'name', at }) as const)
    const writes = this.#inodes().flatMap((inode, file) =>
      inode.unsynced.map((change, at) => {
        const isLast = at === inode.unsynced.length - 1 && change.kind === 'append'
        return { kind: 'write', file, at, bytes: change.kind === 'append' ? change.bytes.length : 0, isLast } as const
      }),
    )
    return [...names, ...writes]
  }

  /**
   * A disk that is what this one is after the power comes back, if exactly these of `unsynced()` have survived; of a
   * write perhaps only so many bytes. This one stays as it is.
   */
  afterPowerLoss(survives: (at: number) => boolean, bytesOf: (at: number) => number | undefined): FaultDisk {
    const copies = new Map<Inode, Inode>()
    let next = this.#unsyncedNames.length
    for (const inode of this.#inodes()) {
      let content = inode.durable
      for (const change of inode.unsynced) {
        const at = next++
        if (survives(at)) content = applyChange(content, change, bytesOf(at))
      }
      copies.set(inode, { durable: content, current: content, unsynced: [] })
    }
    const names = new Map(this.#durableNames)
    for (const [at, change] of this.#unsyncedNames.entries()) if (survives(at)) applyNames(names, change)
    const disk = new FaultDisk()
    disk.#durableNames = new Map([...names].map(([name, inode]) => [name, copies.get(inode)!]))
    disk.#names = new Map(disk.#durableNames)
    return disk
  }

  /** All that can be read, for comparison. */
  get content(): string {
    return this.names()
      .map(name => `${name} ${this.bytesOf(name).toString('base64')}`)
      .join('\n')
  }

  #inodes(): Inode[] {
    const named = this.#unsyncedNames.flatMap(({ sets }) => [...sets.values()].filter(inode => inode !== undefined))
    return [...new Set([...this.#durableNames.values(), ...named, ...this.#names.values()])]
  }

  names(): string[] {
    return [...this.#names.keys()].sort()
  }

  bytesOf(path: string): Buffer {
    return this.#names.get(path)!.current
  }

  /** Damage, or what another program did. */
  setBytes(path: string, bytes: Buffer): void {
    const inode: Inode = { durable: bytes, current: bytes, unsynced: [] }
    this.#names.set(path, inode)
    this.#durableNames.set(path, inode)
  }

  removeFile(path: string): void {
    this.#names.delete(path)
    this.#durableNames.delete(path)
  }

  /** The file system of one process. */
  open(): FileSystem {
    const epoch = this.#epoch
    // Carries out one call: `change` at once, so that a crash in this very call may or may not leave its effect.
    const call = async (what: string, change: () => void): Promise<void> => {
      if (epoch !== this.#epoch) return never()
      this.calls++
      this.#busy++
      const number = this.calls
      change()
      this.onCall(number, what)
      if (epoch !== this.#epoch) return never()
      await Promise.resolve()
      if (what.startsWith('sync ') && this.syncGate !== undefined) await this.syncGate
      if (epoch !== this.#epoch) return never()
      this.#busy--
      if (this.failAt?.call === number) throw Object.assign(new Error(`${this.failAt.code}: injected`), this.failAt)
    }
    // A sync that is interrupted by a crash has synced nothing for certain.
    const sync = async (what: string, change: () => void): Promise<void> => {
      await call(what, () => undefined)
      change()
    }
    const read = async <T>(get: () => T): Promise<T> => {
      await Promise.resolve()
      return epoch === this.#epoch ? get() : never()
    }
    const setNames = (...entries: [string, Inode | undefined][]): void => {
      const change = { sets: new Map(entries) }
      this.#unsyncedNames.push(change)
      applyNames(this.#names, change)
    }
    return {
      makeDirectory: path => call(`make ${path}`, () => undefined),
      list: directory => read(() => this.names().flatMap(name => inDirectory(name, directory))),
      open: async (path, mode) => {
        await call(`open ${path}`, () => {
          const inode = this.#names.get(path)
          if (inode === undefined || mode === 'create')
            setNames([path, { durable: Buffer.alloc(0), current: Buffer.alloc(0), unsynced: [] }])
        })
        return openFile(this.#names.get(path)!, path, { call, sync })
      },
      openRead: path => read(() => openForReading(this.#names.get(path))),
      rename: (from, to) =>
        call(`rename ${from}`, () => {
          const inode = this.#names.get(from)
          if (inode === undefined) throw Object.assign(new Error(`ENOENT: ${from}`), { code: 'ENOENT' })
          setNames([from, undefined], [to, inode])
        }),
      remove: path => call(`remove ${path}`, () => this.#names.has(path) && setNames([path, undefined])),
      lock: async path => {
        await call(`lock ${path}`, () => undefined)
        if (this.#locks.get(path) === epoch) return { kind: 'held', by: 'an earlier start of this test' }
        this.#locks.set(path, epoch)
        return { kind: 'locked', release: () => this.#locks.get(path) === epoch && this.#locks.delete(path) }
      },
      syncDirectory: path =>
        sync(`sync ${path}`, () => {
          this.#durableNames = new Map(this.#names)
          this.#unsyncedNames = []
        }),
    }
  }
}

type Call = (what: string, change: () => void) => Promise<void>

function openFile(inode: Inode, path: string, { call, sync }: { call: Call; sync: Call }): AppendFile {
  return {
    append: bytes =>
      call(`append ${path}`, () => {
        inode.unsynced.push({ kind: 'append', at: inode.current.length, bytes: Buffer.from(bytes) })
        inode.current = Buffer.concat([inode.current, bytes])
      }),
    truncate: length =>
      call(`truncate ${path}`, () => {
        inode.unsynced.push({ kind: 'truncate', length })
        inode.current = inode.current.subarray(0, length)
      }),
    sync: () =>
      sync(`sync ${path}`, () => {
        inode.durable = inode.current
        inode.unsynced = []
      }),
    close: async () => undefined,
  }
}

function openForReading(inode: Inode | undefined): ReadFile | undefined {
  if (inode === undefined) return undefined
  const content = inode.current
  return {
    bytes: content.length,
    read: async (offset, length) => content.subarray(offset, offset + length),
    close: async () => undefined,
  }
}

// Any subset of the unsynced writes; a kept one may be torn. What was skipped over reads as zeros.
function lose({ durable, unsynced }: Inode, loss: Loss, random: Prng): Buffer {
  if (loss === 'everything unsynced is lost') return durable
  let content = durable
  for (const [index, change] of unsynced.entries()) {
    if (change.kind === 'truncate') {
      if (random.next() < 0.5) content = content.subarray(0, Math.min(content.length, change.length))
      continue
    }
    const fate = random.next()
    if (fate < 0.3) continue
    const isTorn = fate < 0.7 || index === unsynced.length - 1
    content = applyChange(content, change, isTorn ? random.below(change.bytes.length + 1) : undefined)
  }
  return content
}

// What was skipped over reads as zeros.
function applyChange(content: Buffer, change: FileChange, tornBytes: number | undefined): Buffer {
  if (change.kind === 'truncate') return content.subarray(0, Math.min(content.length, change.length))
  const bytes = tornBytes === undefined ? change.bytes : change.bytes.subarray(0, tornBytes)
  if (bytes.length === 0) return content
  const grown = Buffer.alloc(Math.max(content.length, change.at + bytes.length))
  content.copy(grown)
  bytes.copy(grown, change.at)
  return grown
}

function applyNames(names: Map<string, Inode>, { sets }: NameChange): void {
  for (const [name, inode] of sets) {
    if (inode === undefined) names.delete(name)
    else names.set(name, inode)
  }
}

function inDirectory(path: string, directory: string): string[] {
  const rest = path.startsWith(`${directory}/`) ? path.slice(directory.length + 1) : ''
  return rest === '' || rest.includes('/') ? [] : [rest]
}
