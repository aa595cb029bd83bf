import { WaiterError } from '@waiter/base'
import { STORE_PREFIXES } from '@waiter/services'
import {
  encodeSnapshotFile,
  type KeyValueStore,
  parseSnapshotFile,
  type SnapshotEntry,
  type Versioned,
} from '@waiter/store/port'

/** Writes on their way at once. */
const WRITES_MAX = 32

/** Everything that people have told the cluster; who its members are, and what runs, is not part of it. */
const PREFIXES: readonly string[] = Object.values(STORE_PREFIXES)

/** What a restoration did. */
export interface Restored {
  readonly written: number
  /** Entries that the snapshot does not have. */
  readonly removed: number
}

/** A copy of what the cluster keeps, all of one moment. */
export async function takeSnapshot(
  store: KeyValueStore,
  header: { readonly cluster: string; readonly release: string },
): Promise<Buffer> {
  const entries = (await readAll(store)).map(({ key, value }): SnapshotEntry => ({ key, value }))
  return encodeSnapshotFile({ header: { ...header, created: new Date().toISOString() }, entries })
}

/**
 * Puts a snapshot into a cluster that is empty; `force`: in place of what it has. Not all at once: one that is broken off
 * leaves a part, and is done again with `force`.
 *
 * @throws WaiterError WTR_SNAPSHOT_CORRUPT, WTR_NOT_EMPTY, or what the store says
 */
export async function restoreSnapshot(store: KeyValueStore, bytes: Buffer, force: boolean): Promise<Restored> {
  const { entries } = parseSnapshotFile(bytes)
  const stranger = entries.find(({ key }) => !isKept(key))
  if (stranger !== undefined) throw foreign(stranger.key)
  const present = new Map((await readAll(store)).map(entry => [entry.key, entry]))
  if (present.size > 0 && !force) throw notEmpty(present.size)
  const wanted = new Map(entries.map(({ key, value }) => [key, value]))
  const changes = [
    ...entries.filter(({ key, value }) => present.get(key)?.value !== value),
    ...[...present.keys()].filter(key => !wanted.has(key)).map(key => ({ key, value: undefined })),
  ]
  let next = 0
  const work = async (): Promise<void> => {
    for (;;) {
      const change = changes[next++]
      if (change === undefined) return
      const outcome = await store.compareAndSet(change.key, present.get(change.key)?.version ?? 0, change.value)
      if (outcome.kind === 'conflict') throw disturbed(change.key)
    }
  }
  await Promise.all(Array.from({ length: WRITES_MAX }, work))
  return { written: entries.length, removed: changes.filter(({ value }) => value === undefined).length }
}

async function readAll(store: KeyValueStore): Promise<Versioned[]> {
  const found: Versioned[] = []
  for await (const entry of store.list('')) if (isKept(entry.key)) found.push(entry)
  return found
}

function isKept(key: string): boolean {
  return PREFIXES.some(prefix => key.startsWith(prefix))
}

function foreign(key: string): WaiterError {
  return new WaiterError(
    `The snapshot has the key ${JSON.stringify(key.slice(0, 64))}, which this Waiter does not know: a newer one took it.`,
    { code: 'WTR_SNAPSHOT_CORRUPT', status: 400 },
  )
}

function notEmpty(count: number): WaiterError {
  return new WaiterError(
    `The cluster is not empty: it has ${count} entries. With --force (force=true) the snapshot takes their place, and what it ` +
      'does not have is deleted.',
    { code: 'WTR_NOT_EMPTY', status: 409 },
  )
}

function disturbed(key: string): WaiterError {
  return new WaiterError(
    `Somebody else has written ${key} meanwhile; a part of the snapshot is restored. Keep others away, and do it again with ` +
      '--force (force=true).',
    { code: 'WTR_CONTENDED', status: 409 },
  )
}
