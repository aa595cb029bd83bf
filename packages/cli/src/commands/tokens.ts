import { askAll, type CommandContext, type FormatOptions, formatOf, print } from '../context.ts'
import { EXIT } from '../errors.ts'
import { type Json, textOf, type WaiterApi } from '../http/waiter-api.ts'
import { renderAge } from '../output/format.ts'
import { renderTable } from '../output/table.ts'

export interface TokensOptions extends FormatOptions {
  readonly user?: string
  readonly all?: boolean
}

/** `waiter tokens`: what there is. Without a flag, what the caller owns. */
export async function listTokens(context: CommandContext, options: TokensOptions): Promise<number> {
  const format = formatOf(options)
  const { answers, hasFailed } = await askAll(context, api => ask(api, options))
  const count = answers.reduce((sum, { value }) => sum + value.length, 0)
  if (format !== 'text') {
    const clusters = answers.map(({ api, value }) => [api.cluster.name, { count: value.length, tokens: value }])
    await print(context.io, { clusters: Object.fromEntries(clusters), count }, format)
  } else if (count === 0) {
    const whose = options.user === undefined ? "you own none; --all lists everybody's" : `${options.user} owns none`
    context.io.err(`waiter: No matching data found: ${options.all === true ? 'there are no tokens' : whose}`)
  } else {
    const rows = answers.flatMap(({ api, value }) => value.map(token => ({ cluster: api.cluster.name, token })))
    rows.sort((a, b) => compare(a, b, ({ token }) => textOf(token, 'token')) || compare(a, b, row => row.cluster))
    context.io.out(renderTable(['Cluster', 'Owner', 'Token', 'Maintenance', 'Updated'], rows.map(toRow)))
  }
  return count === 0 || hasFailed ? EXIT.failed : EXIT.ok
}

async function ask(api: WaiterApi, { user, all }: TokensOptions): Promise<readonly Json[]> {
  const owner = all === true ? undefined : (user ?? (await api.whoAmI()))
  return await api.listTokens({ owner, include: ['metadata'] })
}

function toRow({ cluster, token }: { cluster: string; token: Json }): string[] {
  const isInMaintenance = token.maintenance === true
  const age = renderAge(textOf(token, 'last-update-time'), Date.now())
  return [cluster, textOf(token, 'owner'), textOf(token, 'token'), isInMaintenance ? 'Yes' : 'No', age]
}

function compare<T>(a: T, b: T, textIn: (row: T) => string): number {
  const [x, y] = [textIn(a), textIn(b)]
  return x < y ? -1 : x > y ? 1 : 0
}
