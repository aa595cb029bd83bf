import type { Prng } from '@waiter/base'
import type { FileSystem, JournalFile } from '../src/index.ts'

/** What the power failure leaves of everything that was not synced. */
export type Loss = 'all of it is lost' | 'nothing is lost' | 'any part is lost'

/** What happens to the call at which the fault strikes. */
export type Fault = 'crash' | 'error'

/** A file system in memory that forgets like a real one. */
export interface CrashFileSystem extends FileSystem {
  /** How many calls there were. */
  calls(): number
  /** The call with this number, counted from 1, fails: with `crash` so do all after it. */
  failAt(call: number, fault: Fault): void
  /** The power comes back: what was not synced is lost as `loss` says, and calls work again. */
  restart(loss: Loss, prng: Prng): void
  /** For planting damage. */
  bytesOf(name: string): Buffer
  names(): string[]
  setBytes(name: string, bytes: Buffer): void
}

interface Inode {
  durable: Buffer
  current: Buffer
}

type NameChange = { readonly name: string; readonly inode: Inode | undefined }

/** One directory, empty. Paths are reduced to their last part. */
export function createCrashFileSystem(): CrashFileSystem {
  let durableNames = new Map<string, Inode>()
  let names = new Map<string, Inode>()
  /** Changes of names since the last sync of the directory: each entry persists whole or not at all. */
  let unsynced: NameChange[][] = []
  let calls = 0
  let fault: { readonly call: number; readonly kind: Fault } | undefined
  let isDown = false
  let epoch = 0

  /** @returns false when the call has to fail halfway */
  const step = (): boolean => {
    if (isDown) throw new Error('the machine is off')
    calls++
    if (fault === undefined || calls !== fault.call) return true
    if (fault.kind === 'crash') isDown = true
    return false
  }
  const failed = (): Error => Object.assign(new Error('injected'), { code: 'EIO' })
  const change = (...changes: NameChange[]): void => {
    unsynced.push(changes)
    applyNames(names, changes)
  }
  const openFile = (inode: Inode): JournalFile => {
    const born = epoch
    const checked = (): boolean => {
      if (born !== epoch) throw new Error('a file of a process that is gone')
      return step()
    }
    return {
      append: async bytes => {
        const isWhole = checked()
        const part = isWhole ? bytes : bytes.subarray(0, bytes.length >> 1)
        inode.current = Buffer.concat([inode.current, part])
        if (!isWhole) throw failed()
      },
      truncate: async bytes => {
        if (!checked()) throw failed()
        inode.current = inode.current.subarray(0, bytes)
      },
      sync: async () => {
        if (!checked()) throw failed()
        inode.durable = inode.current
      },
      close: async () => {
        if (!checked()) throw failed()
      },
    }
  }
  return {
    calls: () => calls,
    failAt: (call, kind) => {
      fault = { call, kind }
    },
    restart: (loss, prng) => {
      const survives = (): boolean => loss === 'nothing is lost' || (loss === 'any part is lost' && prng.next() < 0.5)
      for (const changes of unsynced) if (survives()) applyNames(durableNames, changes)
      for (const inode of new Set(durableNames.values())) inode.current = lose(inode, loss, prng)
      for (const inode of durableNames.values()) inode.durable = inode.current
      names = new Map(durableNames)
      durableNames = new Map(names)
      unsynced = []
      fault = undefined
      isDown = false
      epoch++
    },
    makeDirectory: async () => {
      if (!step()) throw failed()
    },
    list: async () => {
      if (!step()) throw failed()
      return [...names.keys()]
    },
    read: async path => {
      if (!step()) throw failed()
      return names.get(base(path))?.current
    },
    open: async (path, mode) => {
      const isWhole = step()
      const name = base(path)
      let inode = names.get(name)
      if (mode === 'exclusive' && inode !== undefined) throw Object.assign(new Error('exists'), { code: 'EEXIST' })
      if (inode === undefined) {
        inode = { durable: Buffer.alloc(0), current: Buffer.alloc(0) }
        change({ name, inode })
      } else if (mode === 'create') inode.current = Buffer.alloc(0)
      if (!isWhole) throw failed()
      return openFile(inode)
    },
    rename: async (from, to) => {
      const isWhole = step()
      const inode = names.get(base(from))
      if (inode === undefined) throw Object.assign(new Error(`no ${from}`), { code: 'ENOENT' })
      change({ name: base(from), inode: undefined }, { name: base(to), inode })
      if (!isWhole) throw failed()
    },
    remove: async path => {
      const isWhole = step()
      if (names.has(base(path))) change({ name: base(path), inode: undefined })
      if (!isWhole) throw failed()
    },
    syncDirectory: async () => {
      if (!step()) throw failed()
      durableNames = new Map(names)
      unsynced = []
    },
    bytesOf: name => names.get(name)?.current as Buffer,
    names: () => [...names.keys()],
    setBytes: (name, bytes) => {
      names.set(name, { durable: bytes, current: bytes })
      durableNames.set(name, names.get(name) as Inode)
    },
  }
}

function applyNames(names: Map<string, Inode>, changes: readonly NameChange[]): void {
  for (const { name, inode } of changes) {
    if (inode === undefined) names.delete(name)
    else names.set(name, inode)
  }
}

function base(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

const SECTOR_BYTES = 16

/** What a restart finds in a file: any sectors of the unsynced end may be missing (zeros), and its length may be cut. */
function lose({ durable, current }: Inode, loss: Loss, prng: Prng): Buffer {
  if (loss === 'nothing is lost') return current
  if (loss === 'all of it is lost' || current.length < durable.length) return durable
  const length = durable.length + prng.below(current.length - durable.length + 1)
  const found = Buffer.from(current.subarray(0, length))
  for (let at = durable.length; at < length; at += SECTOR_BYTES) {
    if (prng.next() < 0.3) found.fill(0, at, Math.min(at + SECTOR_BYTES, length))
  }
  return found
}
