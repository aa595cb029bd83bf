import { WaiterError } from '@waiter/base'
import type { CommandContext } from '../context.ts'
import { cliError, EXIT } from '../errors.ts'
import { type Json, textOf, type WaiterApi } from '../http/waiter-api.ts'
import { renderData } from '../output/format.ts'
import { decideSync, type Reading, type SyncCode, type SyncStep } from '../syncer/decide-sync.ts'

export interface SyncOptions {
  readonly dryRun?: boolean
  readonly limit: number
  readonly optOutMetadataName: string
}

/** What became of a token in one cluster. */
interface StepResult {
  readonly code: SyncCode
  readonly message?: string
}

/** `waiter token-syncer sync-clusters`: all clusters come to have the same tokens (spec §10.3). */
export async function syncClusters(context: CommandContext, options: SyncOptions): Promise<number> {
  const { apis } = context
  if (apis.length < 2) throw cliError('usage', 'name at least two clusters, by URL or as the configuration calls them')
  const listings = await Promise.all(apis.map(async api => await listEtags(api)))
  const names = [...new Set(listings.flatMap(listing => [...listing.keys()]))].sort()
  const differing = names.filter(name => !isSameEverywhere(name, listings))
  const selected = differing.slice(0, options.limit)
  const details: Record<string, Json> = {}
  const counts = { failed: 0, unmodified: 0, updated: 0 }
  for (const name of selected) {
    const results = await syncToken(apis, name, options)
    details[name] = { 'sync-result': Object.fromEntries(results) }
    const codes = [...results.values()].map(({ code }) => code)
    if (codes.some(code => code.startsWith('error/'))) counts.failed += 1
    else if (codes.some(code => CHANGES.has(code))) counts.updated += 1
    else counts.unmodified += 1
  }
  const tokens = {
    pending: differing.length - selected.length,
    'previously-synced': names.length - differing.length,
    processed: selected.length,
    selected: selected.length,
    total: names.length,
  }
  const dryRun = options.dryRun === true ? { 'dry-run': true } : {}
  context.io.out(await renderData({ details, summary: { sync: counts, tokens }, ...dryRun }, 'json'))
  return counts.failed === 0 ? EXIT.ok : EXIT.failed
}

const CHANGES: ReadonlySet<SyncCode> = new Set(['success/sync-update', 'success/soft-delete', 'success/hard-delete'])

/** Etags by token; of deleted ones none. A cluster that cannot be asked ends the command: it might have what is missing. */
async function listEtags(api: WaiterApi): Promise<ReadonlyMap<string, string | undefined>> {
  const tokens = await api.listTokens({ include: ['deleted', 'metadata'] })
  return new Map(
    tokens.map(token => {
      const etag = textOf(token, 'etag')
      return [textOf(token, 'token'), token['deleted'] === true || etag === '' ? undefined : etag]
    }),
  )
}

function isSameEverywhere(name: string, listings: readonly ReadonlyMap<string, string | undefined>[]): boolean {
  const [first] = listings
  const etag = first?.get(name)
  return etag !== undefined && listings.every(listing => listing.get(name) === etag)
}

async function syncToken(
  apis: readonly WaiterApi[],
  name: string,
  options: SyncOptions,
): Promise<ReadonlyMap<string, StepResult>> {
  const readings = await Promise.all(apis.map(async api => [api.cluster.url, await readCopy(api, name)] as const))
  const steps = decideSync(new Map(readings), options.optOutMetadataName)
  const results = await Promise.all(
    apis.flatMap(api => {
      const step = steps.get(api.cluster.url)
      return step === undefined ? [] : [takeStep(api, name, step, options.dryRun === true)]
    }),
  )
  return new Map(results)
}

async function readCopy(api: WaiterApi, name: string): Promise<Reading> {
  try {
    const copy = await api.readToken(name, { isDeletedWanted: true })
    return copy === undefined ? { kind: 'absent' } : { kind: 'copy', copy }
  } catch (error) {
    if (error instanceof WaiterError) return { kind: 'failed', message: error.message }
    throw error
  }
}

async function takeStep(
  api: WaiterApi,
  name: string,
  step: SyncStep,
  isDryRun: boolean,
): Promise<readonly [url: string, result: StepResult]> {
  const { url } = api.cluster
  try {
    if (step.kind === 'write' && !isDryRun) await api.writeToken(name, step.body, step.etag, 'admin')
    if (step.kind === 'hard-delete' && !isDryRun) await api.deleteToken(name, step.etag, { isHard: true })
    return [url, { code: step.code }]
  } catch (error) {
    if (!(error instanceof WaiterError)) throw error
    return [url, { code: 'error/token-sync', message: error.message }]
  }
}
