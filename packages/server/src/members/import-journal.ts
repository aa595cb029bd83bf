import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Logger, WaiterError } from '@waiter/base'
import type { FirstState, Versioned } from '@waiter/store'
import { writeDurably } from '../write-durably.ts'

const FORMAT = 1
const MODE = 0o600

interface StoredFirstState {
  readonly format: number
  readonly version: number
  readonly entries: readonly Versioned[]
}

/** Whether an earlier Waiter kept its data there, on a single control node. */
export function hasJournal(directory: string): boolean {
  return existsSync(directory) && readdirSync(directory).some(name => /^(journal|snapshot)-/.test(name))
}

/**
 * Copies what such a Waiter kept into one file, for the founders of the group to begin with. The journal is only read: a
 * start that dies on the way does it again.
 *
 * @throws WaiterError WTR_STORE_CORRUPT when the journal is damaged
 */
export async function exportJournal(directory: string, file: string, log: Logger): Promise<void> {
  // Almost every start has none, and the launcher need not load the store.
  const { openJournalStore } = await import('@waiter/store')
  const store = await openJournalStore({ directory, log })
  try {
    const entries: Versioned[] = []
    let version = 0
    for await (const change of store.watch('', new AbortController().signal)) {
      if (change.kind === 'put') entries.push(change.entry)
      if (change.kind !== 'synced') continue
      version = change.version
      break
    }
    const content: StoredFirstState = { format: FORMAT, version, entries }
    writeDurably(file, JSON.stringify(content), MODE)
    log.info({ entries: entries.length, version }, 'what a single control node kept is taken over by the group')
  } finally {
    await store.close()
  }
}

/**
 * Reads such a file.
 *
 * @throws WaiterError WTR_DATA_DIR when it is not there or damaged
 */
export function readFirstState(file: string): FirstState {
  try {
    const { format, version, entries } = JSON.parse(readFileSync(file, 'utf8')) as StoredFirstState
    if (format !== FORMAT || !Number.isSafeInteger(version) || !Array.isArray(entries))
      throw new Error('another format')
    return { version, entries }
  } catch (error) {
    throw new WaiterError(`${file} is missing or damaged: restore it, a control node still has to begin with it`, {
      code: 'WTR_DATA_DIR',
      cause: error,
    })
  }
}

/**
 * The highest term that anybody has led in here: kept by earlier Waiters, and by the scheduler. 0: none.
 *
 * @throws WaiterError WTR_DATA_DIR when it cannot be told
 */
export function highestTermOf(directory: string): number {
  const termFile = join(directory, 'term')
  const fenceFile = join(directory, 'scheduler', 'fence.json')
  return Math.max(
    readTerm(termFile, text => text.trim()),
    readTerm(fenceFile, text => /^\{"term":(\d+)\}$/.exec(text)?.[1] ?? ''),
  )
}

function readTerm(file: string, find: (text: string) => string): number {
  if (!existsSync(file)) return 0
  const term = find(readFileSync(file, 'utf8'))
  if (/^\d{1,15}$/.test(term)) return Number(term)
  throw new WaiterError(`${file} is damaged: write a number greater than any term in the logs into it`, {
    code: 'WTR_DATA_DIR',
  })
}
