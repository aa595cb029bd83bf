import { askAll, type CommandContext, onlyOne } from '../context.ts'
import { cliError } from '../errors.ts'
import { type Json, type StoredToken, textOf, type WaiterApi } from '../http/waiter-api.ts'

/** What `TOKEN|SERVICE-ID` turned out to be. */
export type Destination =
  | { readonly kind: 'token'; readonly api: WaiterApi; readonly token: string; readonly stored: StoredToken }
  | { readonly kind: 'service'; readonly api: WaiterApi; readonly service: Json; readonly serviceId: string }

/** The cluster that has a token, and the token. @throws WaiterError when none has it, or several */
export async function findToken(
  context: CommandContext,
  token: string,
): Promise<{ readonly api: WaiterApi; readonly stored: StoredToken }> {
  const found = await lookUpToken(context, token)
  if (found !== undefined) return found
  throw cliError(
    'notFound',
    `there is no token ${JSON.stringify(token)}${inClusters(context)}; \`waiter tokens --all\` lists those that there are`,
  )
}

/** A token of that name, else a service of that id. With `isServiceId` only the latter. */
export async function findDestination(
  context: CommandContext,
  name: string,
  isServiceId: boolean,
): Promise<Destination> {
  if (!isServiceId) {
    const token = await lookUpToken(context, name)
    if (token !== undefined) return { kind: 'token', token: name, ...token }
  }
  const { answers } = await askAll(context, api => api.readService(name))
  const services = answers.flatMap(({ api, value }) => (value === undefined ? [] : [{ api, value }]))
  const found = onlyOne(services, `service ${name}`)
  if (found !== undefined) return { kind: 'service', api: found.api, service: found.value, serviceId: name }
  const what = isServiceId ? 'no service' : 'neither a token nor a service'
  throw cliError('notFound', `there is ${what} ${JSON.stringify(name)}${inClusters(context)}`)
}

/** The service that a token means now: of its present version if there is one, else the one that was asked for last. */
export function chooseService(services: readonly Json[], token: string): Json | undefined {
  const isCurrent = (service: Json): boolean => {
    const tokens = service['current-for-tokens']
    return Array.isArray(tokens) && tokens.includes(token)
  }
  return services.find(isCurrent) ?? services[0]
}

/** Services that run, start or fail: what somebody may be using. */
export function isInUse(service: Json): boolean {
  return textOf(service, 'status') !== 'Inactive'
}

async function lookUpToken(
  context: CommandContext,
  token: string,
): Promise<{ readonly api: WaiterApi; readonly stored: StoredToken } | undefined> {
  const { answers } = await askAll(context, api => api.readToken(token))
  const tokens = answers.flatMap(({ api, value }) => (value === undefined ? [] : [{ api, value }]))
  const found = onlyOne(tokens, `token ${token}`)
  return found === undefined ? undefined : { api: found.api, stored: found.value }
}

function inClusters({ apis }: CommandContext): string {
  return ` in ${apis.map(api => api.cluster.name).join(', ')}`
}
