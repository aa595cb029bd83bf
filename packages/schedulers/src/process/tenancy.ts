import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { schedulerError } from '../errors.ts'
import type { Fence } from '../scheduler.ts'
import { parseJson, replaceFile } from './state-files.ts'

/**
 * Who may act on a data directory.
 *
 * Two guards, both on disk so that they hold between Waiters on one machine: the *owner* is the scheduler object that
 * opened the directory last, and an older one finds out before its next act and goes quiet; the *fence* is the highest
 * leadership term that has acted, and a lower one is refused.
 */
export class Tenancy {
  readonly #ownerPath: string
  readonly #fencePath: string
  readonly #nonce = randomUUID()

  /** Takes the directory over. */
  constructor(dataDir: string) {
    this.#ownerPath = join(dataDir, 'owner.json')
    this.#fencePath = join(dataDir, 'fence.json')
    replaceFile(this.#ownerPath, JSON.stringify({ nonce: this.#nonce, pid: process.pid }), false)
  }

  /** False once another scheduler object has opened the directory. */
  isOwner(): boolean {
    const owner = readFields(this.#ownerPath)
    return owner === undefined || owner.nonce === this.#nonce
  }

  /**
   * Accepts an act of this term, durably, or refuses it.
   *
   * @throws WaiterError `WTR_FENCED` when a higher term has acted before
   */
  checkFence(fence: Fence): void {
    const stored = readFields(this.#fencePath)?.term
    const highest = typeof stored === 'number' ? stored : 0
    if (fence.term < highest) {
      throw schedulerError(
        'WTR_FENCED',
        `A leader of term ${highest} has acted already; this order of term ${fence.term} comes from a deposed one.`,
      )
    }
    if (fence.term > highest) replaceFile(this.#fencePath, JSON.stringify({ term: fence.term }), true)
  }
}

interface GuardFields {
  readonly nonce?: unknown
  readonly term?: unknown
}

/** Undefined when missing or unreadable: a lost guard file must not stop services from starting. */
function readFields(path: string): GuardFields | undefined {
  try {
    const value = parseJson(readFileSync(path, 'utf8'))
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}
