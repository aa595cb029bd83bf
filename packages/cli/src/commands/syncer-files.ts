import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { WaiterError } from '@waiter/base'
import { compilePattern } from '@waiter/services'
import type { CommandContext } from '../context.ts'
import { readDocument } from '../documents/read-document.ts'
import { cliError, EXIT } from '../errors.ts'
import { isJson, type Json, objectOf, textOf, type WaiterApi } from '../http/waiter-api.ts'
import { renderData } from '../output/format.ts'
import { printable } from '../output/printable.ts'
import { save } from './write-token.ts'

export interface BackupOptions {
  readonly dryRun?: boolean
  /** Tokens that the file has and the cluster has not any more stay. */
  readonly accrete?: boolean
}

/** `waiter token-syncer backup-tokens FILE`: all tokens of a cluster, with what Waiter knows of them, into a file. */
export async function backupTokens(context: CommandContext, file: string, options: BackupOptions): Promise<number> {
  const api = onlyCluster(context)
  const path = resolve(context.io.workingDirectory, file)
  const earlier: Json = existsSync(path) ? await readDocument(context.io, file, 'json') : {}
  const saved: Record<string, Json> = {}
  for (const entry of await api.listTokens({ include: ['deleted', 'metadata'] })) {
    const name = textOf(entry, 'token')
    const known = objectOf(earlier, name)
    const copy =
      textOf(known, 'token-etag') === textOf(entry, 'etag') && textOf(entry, 'etag') !== '' ? known : undefined
    const read = copy === undefined ? await api.readToken(name, { isDeletedWanted: true }) : undefined
    if (copy !== undefined) saved[name] = copy
    // Gone between the two questions: it is not there any more.
    else if (read !== undefined) saved[name] = { description: read.body, 'token-etag': read.etag }
  }
  const text = await renderData(options.accrete === true ? { ...earlier, ...saved } : saved, 'json')
  if (options.dryRun !== true) save(path, text, file)
  context.io.out(printable(`${Object.keys(saved).length} tokens of ${api.cluster.url} saved to ${file}.`))
  return EXIT.ok
}

export interface RestoreOptions {
  readonly dryRun?: boolean
  /** Also over tokens that were changed later. */
  readonly force?: boolean
}

/** `waiter token-syncer restore-tokens FILE`: writes what a cluster does not have, or has an older copy of. */
export async function restoreTokens(context: CommandContext, file: string, options: RestoreOptions): Promise<number> {
  const api = onlyCluster(context)
  const saved = await readDocument(context.io, file, 'json')
  return await forEach(context, Object.keys(saved), async name => {
    const body = objectOf(objectOf(saved as Json, name), 'description')
    if (Object.keys(body).length === 0) throw cliError('document', `${file}: ${name} has no description`)
    const now = await api.readToken(name, { isDeletedWanted: true })
    const isNewer = now !== undefined && timeOf(now.body) >= timeOf(body)
    if (isNewer && options.force !== true) return 'kept'
    if (options.dryRun !== true) await api.writeToken(name, body, now?.etag ?? '', 'admin')
    return 'restored'
  })
}

export interface CleanupOptions {
  readonly dryRun?: boolean
  /** ISO time. */
  readonly before?: string
}

const CLEANUP_AGE_MS = 7 * 86_400_000

/** `waiter token-syncer cleanup-tokens`: forgets tokens that were deleted long ago. */
export async function cleanupTokens(context: CommandContext, options: CleanupOptions): Promise<number> {
  const api = onlyCluster(context)
  const beforeMs = options.before === undefined ? Date.now() - CLEANUP_AGE_MS : Date.parse(options.before)
  if (Number.isNaN(beforeMs)) throw cliError('usage', `--before takes a time such as 2026-01-31T00:00:00Z`)
  const entries = await api.listTokens({ include: ['deleted', 'metadata'] })
  const old = entries.filter(entry => entry['deleted'] === true && timeOf(entry) < beforeMs)
  return await forEach(
    context,
    old.map(entry => textOf(entry, 'token')),
    async name => {
      const now = await api.readToken(name, { isDeletedWanted: true })
      if (now === undefined || now.body['deleted'] !== true) return 'kept'
      if (options.dryRun !== true) await api.deleteToken(name, now.etag, { isHard: true })
      return 'forgotten'
    },
  )
}

export interface SanitizeOptions {
  readonly dryRun?: boolean
  readonly limit: number
  readonly regex?: string
}

/** `waiter token-syncer sanitize-tokens`: writes tokens again as they are, so that they are stored as they would be now. */
export async function sanitizeTokens(context: CommandContext, options: SanitizeOptions): Promise<number> {
  const api = onlyCluster(context)
  const pattern = compilePattern(options.regex ?? '.*')
  if (!pattern.ok) throw cliError('usage', `--regex: not a supported pattern: it ${pattern.error}`)
  const names = (await api.listTokens({ include: ['metadata'] })).map(entry => textOf(entry, 'token'))
  const chosen = names.filter(name => pattern.value.matches(name)).slice(0, options.limit)
  return await forEach(context, chosen, async name => {
    const now = await api.readToken(name)
    if (now === undefined) return 'gone'
    if (options.dryRun !== true) await api.writeToken(name, now.body, now.etag, 'admin')
    return 'written again'
  })
}

export interface PingTokenOptions {
  readonly queueTimeout: number
}

/** `waiter token-syncer ping-token TOKEN`: does its service answer through each cluster? */
export async function pingToken(context: CommandContext, token: string, options: PingTokenOptions): Promise<number> {
  const outcomes = await Promise.allSettled(
    context.apis.map(async api => objectOf(await api.ping(token, options.queueTimeout), 'ping-response')),
  )
  let isWell = true
  for (const [index, outcome] of outcomes.entries()) {
    const { url } = context.apis[index]!.cluster
    const response = outcome.status === 'fulfilled' && isJson(outcome.value) ? outcome.value : {}
    const status = Number(response['status'])
    const isGood = textOf(response, 'result') === 'received-response' && status >= 200 && status < 300
    isWell &&= isGood
    const problem = outcome.status === 'rejected' ? (outcome.reason as Error).message : textOf(response, 'result')
    context.io.out(printable(`${url}: ${isGood ? 'successful' : `failed: ${problem}`}`))
  }
  return isWell ? EXIT.ok : EXIT.failed
}

/** Goes through tokens; what cannot be done with one does not keep the others. */
async function forEach(
  { io }: CommandContext,
  names: readonly string[],
  act: (name: string) => Promise<string>,
): Promise<number> {
  let hasFailed = false
  for (const name of names) {
    try {
      io.out(printable(`${name}: ${await act(name)}`))
    } catch (error) {
      if (!(error instanceof WaiterError)) throw error
      hasFailed = true
      io.err(`waiter: ${name}: ${error.message}`)
    }
  }
  return hasFailed ? EXIT.failed : EXIT.ok
}

function onlyCluster({ apis }: CommandContext): WaiterApi {
  const [api, ...others] = apis
  if (api === undefined || others.length > 0)
    throw cliError('usage', 'say which cluster, by URL or with --cluster NAME')
  return api
}

function timeOf(body: Json): number {
  return Date.parse(textOf(body, 'last-update-time')) || 0
}
