import { chooseClusters } from './config/choose-clusters.ts'
import type { CliConfig } from './config/cluster.ts'
import { loadConfig } from './config/load-config.ts'
import { cliError } from './errors.ts'
import { createClient } from './http/client.ts'
import { labelOf } from './http/problems.ts'
import { WaiterApi } from './http/waiter-api.ts'
import type { Io } from './io.ts'
import { type Format, renderData } from './output/format.ts'

/** Flags that every command knows, before or after its name. */
export interface GlobalOptions {
  readonly cluster?: string
  readonly url?: string
  readonly config?: string
  readonly verbose?: boolean
}

/** Flags of commands that can print for programs. */
export interface FormatOptions {
  readonly json?: boolean
  readonly yaml?: boolean
}

/** What a command works with. */
export interface CommandContext {
  readonly io: Io
  readonly config: CliConfig
  /** One for each cluster that the command is about; at least one. */
  readonly apis: readonly WaiterApi[]
}

/** Reads the configuration and prepares the clusters; asks nobody yet. */
export async function createContext(io: Io, options: GlobalOptions): Promise<CommandContext> {
  const config = await loadConfig(options.config, io)
  const trace = options.verbose === true ? (line: string) => io.err(`waiter: ${line}`) : () => undefined
  const apis = chooseClusters(config, options).map(
    cluster => new WaiterApi(createClient({ cluster, http: config.http, trace })),
  )
  return { io, config, apis }
}

export function formatOf({ json, yaml }: FormatOptions): Format {
  if (json === true && yaml === true) throw cliError('usage', 'give either --json or --yaml, not both')
  return json === true ? 'json' : yaml === true ? 'yaml' : 'text'
}

/** Prints data for programs. */
export async function print(io: Io, data: unknown, format: 'json' | 'yaml'): Promise<void> {
  io.out(await renderData(data, format))
}

/** What one cluster answered, or why it did not. */
export interface ClusterAnswer<T> {
  readonly api: WaiterApi
  readonly value: T
}

/**
 * Asks all clusters at once. Those that cannot be asked are reported and left out; if that is all of them, the command
 * fails with the last reason.
 */
export async function askAll<T>(
  { io, apis }: CommandContext,
  ask: (api: WaiterApi) => Promise<T>,
): Promise<{ readonly answers: readonly ClusterAnswer<T>[]; readonly hasFailed: boolean }> {
  const settled = await Promise.allSettled(apis.map(ask))
  const answers: ClusterAnswer<T>[] = []
  const reasons: unknown[] = []
  for (const [index, outcome] of settled.entries()) {
    if (outcome.status === 'fulfilled') answers.push({ api: apis[index] as WaiterApi, value: outcome.value })
    else reasons.push(outcome.reason)
  }
  if (answers.length === 0) throw reasons.at(-1)
  for (const reason of reasons) io.err(`waiter: ${(reason as Error).message}`)
  return { answers, hasFailed: reasons.length > 0 }
}

/** The one cluster of those that have something; undefined when none has it. */
export function onlyOne<T>(found: readonly ClusterAnswer<T>[], what: string): ClusterAnswer<T> | undefined {
  if (found.length <= 1) return found[0]
  const names = found.map(({ api }) => labelOf(api.cluster)).join(', ')
  throw cliError('notDone', `${what} exists in ${names}; say which with --cluster NAME`)
}
