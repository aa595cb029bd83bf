import type { Prng } from '@waiter/base'
import type { LogFile, LogFolder } from '../../src/node/storage/file-system.ts'

/** The power went. */
export class PowerLoss extends Error {}

interface Inode {
  synced: Uint8Array
  /** Writes since the last sync, in order. */
  pending: Uint8Array[]
}

/**
 * A folder in memory that dies at the k-th call and afterwards holds what a disk may hold: synced bytes, of each
 * unsynced write any part (in 16-byte sectors that may be zero), and any prefix of the unsynced changes of names.
 */
export class CrashFolder implements LogFolder {
  #durableNames = new Map<string, Inode>()
  #names = new Map<string, Inode>()
  #nameChanges: ((names: Map<string, Inode>) => void)[] = []
  calls = 0
  crashAt = Number.POSITIVE_INFINITY
  syncs = 0

  async list(): Promise<readonly string[]> {
    return [...this.#names.keys()]
  }

  async read(name: string): Promise<Uint8Array> {
    const { synced, pending } = this.#names.get(name)!
    return concat([synced, ...pending])
  }

  async create(name: string): Promise<LogFile> {
    if (this.#names.has(name)) throw new Error(`${name} exists`)
    const inode: Inode = { synced: new Uint8Array(0), pending: [] }
    this.#changeNames(names => names.set(name, inode))
    return {
      append: async bytes => {
        // The write may have happened, whole or in part, when the power goes.
        inode.pending.push(bytes.slice())
        this.#call()
      },
      sync: async () => {
        this.#call()
        this.syncs++
        inode.synced = concat([inode.synced, ...inode.pending])
        inode.pending = []
      },
      close: async () => {},
    }
  }

  async truncate(name: string, length: number): Promise<void> {
    this.#call()
    const inode = this.#names.get(name)!
    inode.synced = (await this.read(name)).slice(0, length)
    inode.pending = []
  }

  async rename(from: string, to: string): Promise<void> {
    this.#changeNames(names => {
      names.set(to, names.get(from)!)
      names.delete(from)
    })
  }

  async remove(name: string): Promise<void> {
    this.#changeNames(names => names.delete(name))
  }

  async sync(): Promise<void> {
    this.#call()
    this.#durableNames = new Map(this.#names)
    this.#nameChanges = []
  }

  /** The folder after the power came back. */
  afterCrash(random: Prng): CrashFolder {
    const names = new Map(this.#durableNames)
    for (const change of this.#nameChanges.slice(0, random.below(this.#nameChanges.length + 1))) change(names)
    const folder = new CrashFolder()
    for (const [name, inode] of names) {
      const parts = inode.pending.map(bytes => tear(bytes, random))
      const lost = parts.indexOf(undefined)
      const kept = (lost < 0 ? parts : parts.slice(0, lost)).flatMap(part => part ?? [])
      folder.#names.set(name, { synced: concat([inode.synced, ...kept]), pending: [] })
    }
    folder.#durableNames = new Map(folder.#names)
    return folder
  }

  /** Flips one bit of a file. */
  rot(name: string, bit: number): void {
    const { synced } = this.#names.get(name)!
    synced[bit >> 3]! ^= 1 << (bit & 7)
  }

  #changeNames(change: (names: Map<string, Inode>) => void): void {
    change(this.#names)
    this.#nameChanges.push(change)
    this.#call()
  }

  #call(): void {
    if (++this.calls >= this.crashAt) throw new PowerLoss(`at call ${this.calls}`)
  }
}

const SECTOR_BYTES = 16

function tear(bytes: Uint8Array, random: Prng): Uint8Array | undefined {
  const fate = random.below(4)
  if (fate === 0) return undefined
  if (fate === 1) return bytes
  const torn = bytes.slice(0, fate === 2 ? random.below(bytes.length + 1) : bytes.length)
  for (let at = 0; at < torn.length; at += SECTOR_BYTES) if (random.below(3) === 0) torn.fill(0, at, at + SECTOR_BYTES)
  return torn
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
