import { askAll, type ClusterAnswer, type CommandContext, type FormatOptions, formatOf, print } from '../context.ts'
import { cliError, EXIT } from '../errors.ts'
import { labelOf } from '../http/problems.ts'
import { type Json, numberOf, objectOf, type StoredToken, textOf, type WaiterApi } from '../http/waiter-api.ts'
import type { Io } from '../io.ts'
import { renderAge } from '../output/format.ts'
import { printable } from '../output/printable.ts'
import { renderFields, renderTable } from '../output/table.ts'

export interface ShowOptions extends FormatOptions {
  /** False: `--no-services`. */
  readonly services: boolean
}

interface Found {
  readonly stored: StoredToken
  readonly services: readonly Json[]
}

/** `waiter show TOKEN`: what it says and what runs for it, in every cluster that has it. */
export async function showToken(context: CommandContext, token: string, options: ShowOptions): Promise<number> {
  const format = formatOf(options)
  const { answers, hasFailed } = await askAll(context, api => ask(api, token, options.services))
  const found = answers.flatMap(({ api, value }) => (value === undefined ? [] : [{ api, value }]))
  if (format !== 'text') await print(context.io, toData(found), format)
  if (found.length === 0)
    throw cliError('notFound', `No matching data found: there is no token ${JSON.stringify(token)}`)
  if (format === 'text') for (const one of found) context.io.out(`${renderToken(one, token, context.io)}\n`)
  return hasFailed ? EXIT.failed : EXIT.ok
}

async function ask(api: WaiterApi, token: string, withServices: boolean): Promise<Found | undefined> {
  const stored = await api.readToken(token)
  if (stored === undefined) return undefined
  return { stored, services: withServices ? await api.listServicesOf(token) : [] }
}

function toData(found: readonly ClusterAnswer<Found>[]): Json {
  const clusters = found.map(({ api, value: { stored, services } }) => [
    api.cluster.name,
    { count: 1, etag: stored.etag, services, token: stored.body },
  ])
  return { clusters: Object.fromEntries(clusters), count: found.length }
}

/** Shown apart from the fields, or of no interest to people. */
const APART = ['cmd', 'env', 'previous']

function renderToken({ api, value: { stored, services } }: ClusterAnswer<Found>, token: string, io: Io): string {
  const { body, etag } = stored
  const fields = Object.entries(body)
    .filter(([key]) => !APART.includes(key))
    .map(([key, value]): [string, string] => [key, renderValue(value)])
  const parts = [io.style('bold', `${token} in ${labelOf(api.cluster)}`), renderFields([...fields, ['etag', etag]])]
  const command = textOf(body, 'cmd')
  if (command !== '') parts.push(`${io.style('bold', 'Command')}\n${printable(command)}`)
  const environment = Object.entries(objectOf(body, 'env')).map(([key, value]): [string, string] => [
    key,
    String(value),
  ])
  if (environment.length > 0) parts.push(`${io.style('bold', 'Environment')}\n${renderFields(environment)}`)
  if (services.length > 0) parts.push(`${io.style('bold', 'Services')}\n${renderServices(services, token)}`)
  return parts.join('\n\n')
}

const SERVICE_COLUMNS = [
  ...['Service Id', 'Run as user', 'Instances', 'CPUs', 'Memory', 'Version', 'Status', 'Last request'],
  ...['Current?', 'Scaling State'],
]

function renderServices(services: readonly Json[], token: string): string {
  const now = Date.now()
  return renderTable(
    SERVICE_COLUMNS,
    services.map(service => {
      const description = objectOf(service, 'service-description')
      const counts = objectOf(service, 'instance-counts')
      const usage = objectOf(service, 'resource-usage')
      const current = service['current-for-tokens']
      return [
        textOf(service, 'service-id'),
        textOf(description, 'run-as-user'),
        String(numberOf(counts, 'healthy-instances') + numberOf(counts, 'unhealthy-instances')),
        String(Number(numberOf(usage, 'cpus').toFixed(2))),
        `${Math.round(numberOf(usage, 'mem'))} MiB`,
        textOf(description, 'version'),
        textOf(service, 'status'),
        renderAge(textOf(service, 'last-request-time'), now),
        Array.isArray(current) && current.includes(token) ? 'Current' : 'Not Current',
        textOf(service, 'scaling-state'),
      ]
    }),
  )
}

function renderValue(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
