import { type CommandContext, type FormatOptions, formatOf, print } from '../context.ts'
import { cliError, EXIT } from '../errors.ts'
import { labelOf } from '../http/problems.ts'
import { type Json, textOf } from '../http/waiter-api.ts'
import { printable } from '../output/printable.ts'
import { findDestination, isInUse } from './find.ts'
import { ping } from './ping.ts'

export interface KillOptions extends FormatOptions {
  readonly timeout: number
  readonly serviceId?: boolean
  readonly force?: boolean
  /** Start it again. */
  readonly ping?: boolean
  readonly pingTimeout?: number
  /** False: `--no-ping-wait`. */
  readonly pingWait?: boolean
}

const PING_S = 300

const MS_PER_S = 1000

/** `waiter kill TOKEN|ID`: stops services; the next request starts them again. */
export async function kill(context: CommandContext, name: string, options: KillOptions): Promise<number> {
  const format = formatOf(options)
  const { io } = context
  const found = await findDestination(context, name, options.serviceId === true)
  const { api } = found
  const all = found.kind === 'service' ? [found.service] : await api.listServicesOf(name)
  const ids = found.kind === 'service' ? [found.serviceId] : all.filter(isInUse).map(one => textOf(one, 'service-id'))
  if (ids.length === 0 || !all.some(isInUse)) throw cliError('notFound', `nothing runs for ${found.kind} ${name}`)
  if (ids.length > 1 && options.force !== true) {
    const list = ids.map(id => `\n  ${id}`).join('')
    throw cliError('notDone', `${ids.length} services run for token ${name}:${list}\nName one, or use --force for all.`)
  }
  const results: Json[] = []
  for (const id of ids) {
    const answer = await api.killService(id, options.timeout * MS_PER_S)
    const isAgreed = answer['routers-agree'] === true
    results.push({ 'service-id': id, cluster: api.cluster.name, 'routers-agree': isAgreed })
    if (format !== 'text') continue
    if (isAgreed) io.out(printable(`Successfully killed ${id} in ${labelOf(api.cluster)}.`))
    else io.err(`waiter: ${id} is being killed, but not every router knew of it within ${options.timeout} s`)
  }
  if (format !== 'text') await print(io, { services: results }, format)
  if (!results.every(result => result['routers-agree'] === true)) return EXIT.failed
  if (options.ping !== true) return EXIT.ok
  const { pingTimeout = PING_S, pingWait = true, serviceId = false } = options
  return await ping(context, name, { timeout: pingTimeout, wait: pingWait, serviceId })
}
