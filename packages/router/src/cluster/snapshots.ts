import { WaiterError } from '@waiter/base'
import { STORE_PREFIXES } from '@waiter/services'
import {
  bytesOf,
  encodeSnapshotFile,
  type KeyValueStore,
  type Outcome,
  parseSnapshotFile,
  type SnapshotEntry,
  type Versioned,
  WRITES_BYTES_MAX,
  type Write,
} from '@waiter/store/port'

/** Everything that people have told the cluster; who its members are, and what runs, is not part of it. */
const PREFIXES: readonly string[] = Object.values(STORE_PREFIXES)

/** What a restoration did. */
export interface Restored {
  readonly written: number
  /** Entries that the snapshot does not have. */
  readonly removed: number
  /** Each took effect as a whole. */
  readonly pieces: number
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
 * Puts a snapshot into a cluster that is empty; `force`: in place of what it has. All at once: whatever breaks off in
 * between, the cluster has what it had, or all of the snapshot. Where that is too much for the store
 * ({@link WRITES_BYTES_MAX} of changes), or it writes one key at a time, in pieces, the last of which may be missing then.
 *
 * @throws WaiterError WTR_SNAPSHOT_CORRUPT, WTR_NOT_EMPTY, WTR_CONTENDED, or what the store says
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
  ].map(({ key, value }): Write => ({ key, value, expected: present.get(key)?.version ?? 0 }))
  const pieces = store.compareAndSetAll === undefined ? changes.map(change => [change]) : divide(changes)
  for (const [index, piece] of pieces.entries()) {
    const outcome = await writePiece(store, piece)
    if (outcome.kind === 'conflict') throw disturbed(outcome.current?.key ?? piece[0]?.key ?? '', index > 0)
  }
  return {
    written: entries.length,
    removed: changes.filter(({ value }) => value === undefined).length,
    pieces: pieces.length,
  }
}

/** As few pieces as possible; nearly always one. */
function divide(changes: readonly Write[]): readonly (readonly Write[])[] {
  const pieces: Write[][] = []
  let bytes = Number.POSITIVE_INFINITY
  for (const change of changes) {
    bytes += bytesOf([change])
    if (bytes > WRITES_BYTES_MAX) {
      pieces.push([])
      bytes = bytesOf([change])
    }
    pieces.at(-1)?.push(change)
  }
  return pieces
}

async function writePiece(store: KeyValueStore, piece: readonly Write[]): Promise<Outcome> {
  const [first] = piece
  if (store.compareAndSetAll !== undefined) return await store.compareAndSetAll(piece)
  return await store.compareAndSet(first?.key ?? '', first?.expected ?? 0, first?.value)
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

function disturbed(key: string, isPartial: boolean): WaiterError {
  const state = isPartial ? 'a part of the snapshot is restored' : 'nothing was changed'
  return new WaiterError(
    `Somebody else has written ${key} meanwhile; ${state}. Keep others away, and do it again with --force (force=true).`,
    { code: 'WTR_CONTENDED', status: 409 },
  )
}
