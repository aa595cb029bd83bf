import { chooseClusters } from './config/choose-clusters.ts'
import type { CliConfig, Cluster } from './config/cluster.ts'
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
  readonly connect: (cluster: Cluster) => WaiterApi
}

/** Reads the configuration and prepares the clusters; asks nobody yet. */
export async function createContext(io: Io, options: GlobalOptions): Promise<CommandContext> {
  const config = await loadConfig(options.config, io)
  const trace = options.verbose === true ? (line: string) => io.err(`waiter: ${line}`) : () => undefined
  const connect = (cluster: Cluster): WaiterApi => new WaiterApi(createClient({ cluster, http: config.http, trace }))
  return { io, config, apis: chooseClusters(config, options).map(connect), connect }
}

/** The same for clusters that a command names itself, by URL or as the configuration calls them; without any, all. */
export function restrictTo(context: CommandContext, names: readonly string[]): CommandContext {
  const { config, connect } = context
  if (names.length === 0) return context
  const clusters = names.map(name => findCluster(config, name))
  if (new Set(clusters.map(({ url }) => url)).size < clusters.length)
    throw cliError('usage', 'a cluster is named twice')
  return { ...context, apis: clusters.map(connect) }
}

/** A cluster's credentials go to its URL only. */
function findCluster(config: CliConfig, name: string): Cluster {
  const known = config.clusters.find(cluster => cluster.name.toLowerCase() === name.toLowerCase())
  if (known !== undefined) return known
  const [cluster] = chooseClusters(config, { url: name })
  const { url } = cluster as Cluster
  return config.clusters.find(one => one.url === url) ?? (cluster as Cluster)
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
