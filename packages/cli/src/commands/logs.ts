import { setTimeout as wait } from 'node:timers/promises'
import type { CommandContext } from '../context.ts'
import { cliError, EXIT } from '../errors.ts'
import { type Json, listOf, objectOf, textOf, type WaiterApi } from '../http/waiter-api.ts'
import { lastLines } from '../output/last-lines.ts'
import { chooseService, findDestination } from './find.ts'

export interface LogsOptions {
  readonly instance?: string
  readonly serviceId?: boolean
  readonly file?: readonly string[]
  readonly lines: number
  readonly follow?: boolean
}

/** Without `--file`: what an instance prints. */
const OUTPUT_FILES = ['stdout', 'stderr']
/** The last lines are looked for in so much of a file's end. */
const TAIL_BYTES_MAX = 4 * 1024 * 1024
const POLL_MS = 500
/** A Waiter that cannot be asked for so many polls in a row (its leader restarts, say) ends `--follow`. */
const FAILURES_MAX = 20

interface Followed {
  readonly file: string
  offset: number
}

interface Instance {
  readonly serviceId: string
  readonly instanceId: string
  readonly host: string
  readonly isEnded: boolean
}

/** `waiter logs`: what an instance wrote, of ended ones as well while Waiter remembers them. */
export async function showLogs(context: CommandContext, name: string, options: LogsOptions): Promise<number> {
  const { io } = context
  const { api, serviceId } = await findServiceId(context, name, options.serviceId === true)
  const instance = await chooseInstance(api, serviceId, options.instance)
  io.err(`waiter: instance ${instance.instanceId}${instance.isEnded ? ', which has ended' : ''}`)
  const files = options.file ?? OUTPUT_FILES
  const output = createOutput(context, files.length > 1)
  const followed: Followed[] = []
  for (const file of files) {
    const piece = await api.readFile({ ...instance, file }, { tailBytes: TAIL_BYTES_MAX })
    if (piece === undefined)
      throw cliError('notFound', `instance ${instance.instanceId} has no file ${JSON.stringify(file)}`)
    followed.push({ file, offset: piece.offset + piece.bytes.length })
    await output(file, lastLines(piece.bytes, options.lines))
  }
  if (options.follow === true) await follow({ context, api, instance, followed, output })
  return EXIT.ok
}

async function findServiceId(
  context: CommandContext,
  name: string,
  isServiceId: boolean,
): Promise<{ readonly api: WaiterApi; readonly serviceId: string }> {
  const found = await findDestination(context, name, isServiceId)
  if (found.kind === 'service') return found
  const service = chooseService(await found.api.listServicesOf(name), name)
  if (service !== undefined) return { api: found.api, serviceId: textOf(service, 'service-id') }
  throw cliError('notFound', `nothing runs for token ${name}, or has run lately; \`waiter ping ${name}\` starts it`)
}

/** The wanted instance, else the newest healthy one, else the newest that runs, else the one that ended last. */
async function chooseInstance(api: WaiterApi, serviceId: string, wanted: string | undefined): Promise<Instance> {
  const instances = objectOf((await api.readService(serviceId)) ?? {}, 'instances')
  const active = listOf(instances, 'active-instances').toSorted(newestFirst)
  const ended = [...listOf(instances, 'failed-instances'), ...listOf(instances, 'killed-instances')].toSorted(
    newestFirst,
  )
  const all = [...active.filter(({ 'healthy?': isHealthy }) => isHealthy === true), ...active, ...ended]
  const chosen = wanted === undefined ? all[0] : all.find(instance => textOf(instance, 'id') === wanted)
  if (chosen !== undefined) {
    const isEnded = !active.includes(chosen)
    return { serviceId, instanceId: textOf(chosen, 'id'), host: textOf(chosen, 'host'), isEnded }
  }
  const ids = [...new Set(all.map(instance => `\n  ${textOf(instance, 'id')}`))].join('')
  if (wanted === undefined)
    throw cliError('notFound', `service ${serviceId} has no instance, and none that ended lately`)
  throw cliError(
    'notFound',
    `service ${serviceId} has no instance ${JSON.stringify(wanted)}; there are:${ids || ' none'}`,
  )
}

function newestFirst(a: Json, b: Json): number {
  return textOf(b, 'started-at').localeCompare(textOf(a, 'started-at'))
}

type Output = (file: string, bytes: Uint8Array) => Promise<void>

/** Several files are told apart as `tail` does it. */
function createOutput({ io }: CommandContext, hasHeadings: boolean): Output {
  let current: string | undefined
  return async (file, bytes) => {
    if (bytes.length === 0) return
    if (hasHeadings && current !== file) io.out(`${current === undefined ? '' : '\n'}==> ${file} <==`)
    current = file
    await io.outBytes(bytes)
  }
}

interface Following {
  readonly context: CommandContext
  readonly api: WaiterApi
  readonly instance: Instance
  readonly followed: readonly Followed[]
  readonly output: Output
}

/** Until the instance has ended and everything that it wrote was shown; Ctrl-C ends the process. */
async function follow(parts: Following): Promise<void> {
  const { context, api, instance } = parts
  let failures = 0
  for (let isEnded = instance.isEnded; ; ) {
    try {
      // Asked before reading: what an ended instance wrote last is read after it is known to have ended.
      const wasEnded = isEnded
      const hasNews = await showNews(parts)
      if (wasEnded && !hasNews) break
      if (!hasNews) isEnded ||= await hasEnded(api, instance)
      failures = 0
    } catch (error) {
      failures += 1
      if (failures > FAILURES_MAX) throw error
    }
    await wait(POLL_MS)
  }
  context.io.err(`waiter: instance ${instance.instanceId} has ended`)
}

async function showNews({ api, instance, followed, output }: Following): Promise<boolean> {
  let hasNews = false
  for (const state of followed) {
    const piece = await api.readFile({ ...instance, file: state.file }, { from: state.offset })
    if (piece === undefined) continue
    // Shorter than before: it was rotated, and a new one begins.
    if (piece.size < state.offset) state.offset = 0
    else if (piece.bytes.length > 0) {
      hasNews = true
      state.offset = piece.offset + piece.bytes.length
      await output(state.file, piece.bytes)
    }
  }
  return hasNews
}

async function hasEnded(api: WaiterApi, { serviceId, instanceId }: Instance): Promise<boolean> {
  const service = await api.readService(serviceId)
  const active = listOf(objectOf(service ?? {}, 'instances'), 'active-instances')
  return !active.some(instance => textOf(instance, 'id') === instanceId)
}
