import type { CommandContext } from '../context.ts'
import { cliError, EXIT } from '../errors.ts'
import { labelOf } from '../http/problems.ts'
import { type Json, textOf } from '../http/waiter-api.ts'
import { printable } from '../output/printable.ts'
import { findToken, isInUse } from './find.ts'
import { ping } from './ping.ts'

const MS_PER_S = 1_000
/** What Waiter adds to a token. */
const SYSTEM_KEYS = ['cluster', 'deleted', 'last-update-time', 'last-update-user', 'previous', 'root']

export interface StartMaintenanceOptions {
  /** Stop the services; with `askKill` only a single one. */
  readonly kill: boolean
  readonly askKill?: boolean
  readonly timeout: number
}

export interface StopMaintenanceOptions {
  readonly ping: boolean
  readonly timeout: number
  readonly wait: boolean
  readonly check: boolean
}

/** `waiter maintenance check`: exit code 0 while the token is down. */
export async function checkMaintenance(context: CommandContext, token: string): Promise<number> {
  const { stored } = await findToken(context, token)
  const isDown = stored.body.maintenance !== undefined
  context.io.out(`${token} is ${isDown ? '' : 'not '}in maintenance mode`)
  return isDown ? EXIT.ok : EXIT.failed
}

/** `waiter maintenance start`: requests to the token are answered 503 with the message, and its services are stopped. */
export async function startMaintenance(
  context: CommandContext,
  token: string,
  message: string,
  options: StartMaintenanceOptions,
): Promise<number> {
  const { api, stored } = await findToken(context, token)
  await api.writeToken(token, { ...ownKeys(stored.body), maintenance: { message } }, stored.etag)
  context.io.out(printable(`Maintenance mode activated for ${token} in ${labelOf(api.cluster)}.`))
  if (!options.kill) return EXIT.ok
  const services = (await api.listServicesOf(token)).filter(isInUse).map(one => textOf(one, 'service-id'))
  if (options.askKill === true && services.length > 1)
    throw cliError(
      'notDone',
      `${services.length} services run for ${token}; \`waiter kill ${token} --force\` stops them`,
    )
  let isAgreed = true
  for (const id of services) {
    const answer = await api.killService(id, options.timeout * MS_PER_S)
    isAgreed &&= answer['routers-agree'] === true
    context.io.out(printable(`Successfully killed ${id} in ${labelOf(api.cluster)}.`))
  }
  return isAgreed ? EXIT.ok : EXIT.failed
}

/** `waiter maintenance stop`: the token serves again. */
export async function stopMaintenance(
  context: CommandContext,
  token: string,
  options: StopMaintenanceOptions,
): Promise<number> {
  const { api, stored } = await findToken(context, token)
  const { maintenance, ...body } = ownKeys(stored.body)
  if (maintenance === undefined && options.check)
    throw cliError('notDone', `${token} is not in maintenance mode; --no-check goes on nevertheless`)
  if (maintenance !== undefined) {
    await api.writeToken(token, body, stored.etag)
    context.io.out(printable(`Maintenance mode deactivated for ${token} in ${labelOf(api.cluster)}.`))
  }
  return options.ping ? await ping(context, token, { timeout: options.timeout, wait: options.wait }) : EXIT.ok
}

function ownKeys(body: Json): Json {
  return Object.fromEntries(Object.entries(body).filter(([key]) => !SYSTEM_KEYS.includes(key)))
}
