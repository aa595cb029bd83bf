import { setTimeout as wait } from 'node:timers/promises'
import { type CommandContext, type FormatOptions, formatOf, print } from '../context.ts'
import { EXIT } from '../errors.ts'
import { labelOf } from '../http/problems.ts'
import { type Json, numberOf, objectOf, textOf, type WaiterApi } from '../http/waiter-api.ts'
import { printable } from '../output/printable.ts'
import { findDestination } from './find.ts'

export interface PingOptions extends FormatOptions {
  readonly timeout: number
  readonly serviceId?: boolean
  /** False: `--no-wait`. */
  readonly wait: boolean
}

const MS_PER_S = 1000
const POLL_MS = 500
/** What an instance said to its health check is shown this far. */
const BODY_CHARS_SHOWN = 500

/** `waiter ping`: starts the service if needed, asks an instance for its health check page, waits until it runs. */
export async function ping(context: CommandContext, name: string, options: PingOptions): Promise<number> {
  const format = formatOf(options)
  const { io } = context
  const deadlineMs = performance.now() + options.timeout * MS_PER_S
  const found = await findDestination(context, name, options.serviceId === true)
  const { api } = found
  if (format === 'text') io.out(`Pinging ${found.kind} ${name} in ${labelOf(api.cluster)} …`)
  const target = found.kind === 'token' ? name : `^SERVICE-ID#${name}`
  const answer = await api.ping(target, Math.max(1, Math.round(deadlineMs - performance.now())))
  const response = objectOf(answer, 'ping-response')
  const state = objectOf(answer, 'service-state')
  const serviceId = textOf(state, 'service-id')
  const isAnswered = isSuccess(response)
  if (format === 'text') io.out(isAnswered ? `${io.style('green', 'Ping successful.')}` : renderFailure(response))
  let status = textOf(state, 'status')
  if (isAnswered && options.wait && serviceId !== '') status = await waitForRunning(api, serviceId, status, deadlineMs)
  const isOk = isAnswered && (!options.wait || status === 'Running')
  if (format !== 'text') await print(io, { cluster: api.cluster.name, success: isOk, status, ...answer }, format)
  else if (status !== '') io.out(printable(`Service${serviceId === '' ? '' : ` ${serviceId}`} is currently ${status}.`))
  return isOk ? EXIT.ok : EXIT.failed
}

/** An instance answered its health check with success. */
function isSuccess(response: Json): boolean {
  const status = numberOf(response, 'status')
  return textOf(response, 'result') === 'received-response' && status >= 200 && status < 300
}

function renderFailure(response: Json): string {
  const what =
    {
      'received-response': `the answer was ${numberOf(response, 'status')}`,
      'timed-out': 'timed out',
      'descriptor-error': 'there is no service to ask',
      'waiter-response': `Waiter answered ${numberOf(response, 'status')} for it`,
    }[textOf(response, 'result')] ?? 'Waiter could not do it'
  const body = printable(textOf(response, 'body')).trim()
  const shown = body.length > BODY_CHARS_SHOWN ? `${body.slice(0, BODY_CHARS_SHOWN)}…` : body
  return `Ping failed: ${what}.${shown === '' ? '' : `\n${shown}`}`
}

/** An instance answered; until the leader counts the service as running a moment may pass. */
async function waitForRunning(api: WaiterApi, serviceId: string, first: string, deadlineMs: number): Promise<string> {
  let status = first
  while (status !== 'Running' && performance.now() < deadlineMs) {
    await wait(POLL_MS)
    status = textOf((await api.readService(serviceId)) ?? {}, 'status')
  }
  return status
}
