import { isDeepStrictEqual } from 'node:util'
import type { Json } from '../http/waiter-api.ts'

/** A token as one cluster has it: `body` with metadata, deleted ones as well. */
export interface Copy {
  readonly etag: string
  readonly body: Json
}

/** What one cluster said of a token. */
export type Reading =
  | { readonly kind: 'copy'; readonly copy: Copy }
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed'; readonly message: string }

/** What to do with a token in one cluster. */
export type SyncStep =
  | { readonly kind: 'none'; readonly code: SyncCode }
  | { readonly kind: 'write'; readonly code: SyncCode; readonly body: Json; readonly etag: string }
  | { readonly kind: 'hard-delete'; readonly code: SyncCode; readonly etag: string }

export type SyncCode =
  | 'success/token-match'
  | 'success/skip-opt-out'
  | 'success/sync-update'
  | 'success/soft-delete'
  | 'success/hard-delete'
  | 'error/token-read'
  | 'error/token-sync'
  | 'error/root-mismatch'

/** What changes whenever a token is written, whatever it says. */
const BOOKKEEPING = ['cluster', 'last-update-time', 'last-update-user', 'previous', 'root']

/**
 * Decides how all clusters come to have the same token (spec §10.3): the copy that was changed last wins, unless it may
 * be another token of the same name, or its owner does not want it copied.
 *
 * @param readings by cluster
 * @returns steps by cluster; the one whose copy wins has none
 */
export function decideSync(readings: ReadonlyMap<string, Reading>, optOutName: string): ReadonlyMap<string, SyncStep> {
  const copies = [...readings].flatMap(([cluster, reading]) =>
    reading.kind === 'copy' ? [{ cluster, copy: reading.copy }] : [],
  )
  const [first] = copies
  const failed = [...readings.values()].some(({ kind }) => kind === 'failed')
  const steps = new Map<string, SyncStep>()
  if (first === undefined || (failed && copies.every(({ copy }) => isDeleted(copy)))) {
    // Whether it is deleted everywhere is not known.
    for (const [cluster, { kind }] of readings) if (kind === 'failed') steps.set(cluster, READ_FAILED)
    return steps
  }
  if (copies.every(({ copy }) => isDeleted(copy))) {
    for (const { cluster, copy } of copies)
      steps.set(cluster, { kind: 'hard-delete', code: 'success/hard-delete', etag: copy.etag })
    return steps
  }
  const latest = copies.reduce((best, one) => (updatedAt(one.copy) > updatedAt(best.copy) ? one : best))
  for (const [cluster, reading] of readings)
    if (cluster !== latest.cluster) steps.set(cluster, decideOne(latest.copy, reading, optOutName))
  return steps
}

const READ_FAILED: SyncStep = { kind: 'none', code: 'error/token-read' }

function decideOne(latest: Copy, reading: Reading, optOutName: string): SyncStep {
  if (reading.kind === 'failed') return READ_FAILED
  const copy = reading.kind === 'copy' ? reading.copy : undefined
  if (copy !== undefined && isDeepStrictEqual(copy.body, latest.body))
    return { kind: 'none', code: 'success/token-match' }
  if (isOptedOut(latest, optOutName) || (copy !== undefined && isOptedOut(copy, optOutName))) {
    if (copy !== undefined && isDeleted(copy) && isOptedOut(copy, optOutName))
      return { kind: 'hard-delete', code: 'success/hard-delete', etag: copy.etag }
    return { kind: 'none', code: 'success/skip-opt-out' }
  }
  if (copy !== undefined && isAnotherToken(latest, copy)) return { kind: 'none', code: 'error/root-mismatch' }
  const code = isDeleted(latest) ? 'success/soft-delete' : 'success/sync-update'
  return { kind: 'write', code, body: latest.body, etag: copy?.etag ?? '' }
}

/** Two people in two clusters chose the same name: nobody's token may be lost by that. */
function isAnotherToken({ body: one }: Copy, { body: other }: Copy): boolean {
  return (
    one['root'] !== other['root'] &&
    one['last-update-user'] !== other['last-update-user'] &&
    !isDeepStrictEqual(contentOf(one), contentOf(other))
  )
}

function contentOf(body: Json): Json {
  return Object.fromEntries(Object.entries(body).filter(([key]) => !BOOKKEEPING.includes(key)))
}

function isDeleted({ body }: Copy): boolean {
  return body['deleted'] === true
}

function updatedAt({ body }: Copy): number {
  return Date.parse(String(body['last-update-time'])) || 0
}

function isOptedOut({ body }: Copy, name: string): boolean {
  const metadata = body['metadata']
  if (typeof metadata !== 'object' || metadata === null || !Object.hasOwn(metadata, name)) return false
  return (metadata as Json)[name] === 'true'
}
