import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Term } from '@waiter/base'
import { schedulerError } from '../errors.ts'
import type { Fence } from '../scheduler.ts'
import { parseJson, replaceFile } from './state-files.ts'

/**
 * Who may act on a data directory.
 *
 * Two guards, both on disk so that they hold between Waiters on one machine: the *owner* is the scheduler object of the
 * highest term, and among equals the one that opened the directory last; another one finds out before its next act and
 * goes quiet. The *fence* is the highest leadership term that has acted, and a lower one is refused.
 */
export class Tenancy {
  readonly #ownerPath: string
  readonly #fencePath: string
  readonly #nonce = randomUUID()
  readonly #term: Term

  /**
   * Takes the directory over.
   *
   * @param fence for whom; without it no term counts
   * @throws WaiterError `WTR_FENCED` when a higher term has acted before
   */
  constructor(dataDir: string, fence?: Fence) {
    this.#ownerPath = join(dataDir, 'owner.json')
    this.#fencePath = join(dataDir, 'fence.json')
    this.#term = fence?.term ?? 0
    if (fence !== undefined) this.checkFence(fence)
    this.#take()
  }

  /** False once another scheduler object has opened the directory. */
  isOwner(): boolean {
    const owner = readFields(this.#ownerPath)
    if (owner === undefined || owner.nonce === this.#nonce) return true
    // Somebody of an older term was held up between looking at the fence and taking the directory.
    const isOlder = typeof owner.term === 'number' && owner.term < this.#term
    if (isOlder) this.#take()
    return isOlder
  }

  #take(): void {
    const owner = { nonce: this.#nonce, pid: process.pid, term: this.#term }
    replaceFile(this.#ownerPath, JSON.stringify(owner), false)
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
