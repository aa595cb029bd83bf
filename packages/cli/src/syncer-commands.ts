import type { Command } from 'commander'
import { type AddCommand, wholeNumber } from './add-command.ts'
import type { SyncOptions } from './commands/sync-clusters.ts'
import type { PingTokenOptions, SanitizeOptions } from './commands/syncer-files.ts'
import { type CommandContext, restrictTo } from './context.ts'

const LIMIT = 1_000
const LIMIT_MAX = 100_000
const QUEUE_MS = 12_000
const QUEUE_MS_MAX = 3_600_000

/** `waiter token-syncer …`: copies tokens between clusters, for administrators of all of them (spec §10.3). */
export function addSyncer(program: Command, add: AddCommand): readonly Command[] {
  const syncer = program
    .command('token-syncer')
    .description('copy tokens between clusters, for administrators of all of them')
  addSync(add, syncer)
  addFiles(add, syncer)
  addUpkeep(add, syncer)
  return syncer.commands
}

function addSync(add: AddCommand, syncer: Command): void {
  const run = async (context: CommandContext, urls: readonly string[], options: SyncOptions): Promise<number> => {
    const { syncClusters } = await import('./commands/sync-clusters.ts')
    return await syncClusters(restrictTo(context, urls), options)
  }
  withDryRun(add('sync-clusters [clusters...]', 'make tokens the same everywhere: the latest copy wins', run, syncer))
    .option('--limit <count>', 'tokens at once', wholeNumber(1, LIMIT_MAX), LIMIT)
    .option('--opt-out-metadata-name <name>', 'metadata that keeps a token out', 'waiter-token-sync-opt-out')
}

function addFiles(add: AddCommand, syncer: Command): void {
  const backup = async (context: CommandContext, file: string, url: string | undefined, options: object) => {
    const { backupTokens } = await import('./commands/syncer-files.ts')
    return await backupTokens(restrictTo(context, listOf(url)), file, options)
  }
  withDryRun(add('backup-tokens <file> [cluster]', 'save all tokens to a file', backup, syncer)).option(
    '-a, --accrete',
    'keep those of the file that the cluster does not have any more',
  )
  const restore = async (context: CommandContext, file: string, url: string | undefined, options: object) => {
    const { restoreTokens } = await import('./commands/syncer-files.ts')
    return await restoreTokens(restrictTo(context, listOf(url)), file, options)
  }
  withDryRun(add('restore-tokens <file> [cluster]', 'write those that are missing or older', restore, syncer)).option(
    '-f, --force',
    'also over those that were changed later',
  )
}

function addUpkeep(add: AddCommand, syncer: Command): void {
  const cleanup = async (context: CommandContext, url: string | undefined, options: object) => {
    const { cleanupTokens } = await import('./commands/syncer-files.ts')
    return await cleanupTokens(restrictTo(context, listOf(url)), options)
  }
  withDryRun(add('cleanup-tokens [cluster]', 'forget tokens that were deleted long ago', cleanup, syncer)).option(
    '-b, --before <time>',
    'deleted before (default: a week ago)',
  )
  const sanitize = async (context: CommandContext, url: string | undefined, options: SanitizeOptions) => {
    const { sanitizeTokens } = await import('./commands/syncer-files.ts')
    return await sanitizeTokens(restrictTo(context, listOf(url)), options)
  }
  withDryRun(add('sanitize-tokens [cluster]', 'write tokens again as they are', sanitize, syncer))
    .option('-l, --limit <count>', 'tokens at once', wholeNumber(1, LIMIT_MAX), LIMIT)
    .option('-r, --regex <pattern>', 'with such a name')
  const ping = async (context: CommandContext, token: string, urls: readonly string[], options: PingTokenOptions) => {
    const { pingToken } = await import('./commands/syncer-files.ts')
    return await pingToken(restrictTo(context, urls), token, options)
  }
  add('ping-token <token> [clusters...]', 'does its service answer through each cluster?', ping, syncer).option(
    '-q, --queue-timeout <ms>',
    'how long it may take',
    wholeNumber(1, QUEUE_MS_MAX),
    QUEUE_MS,
  )
}

function withDryRun(command: Command): Command {
  return command.option('-d, --dry-run', 'write nothing')
}

function listOf(url: string | undefined): readonly string[] {
  return url === undefined ? [] : [url]
}
