import { askAll, type ClusterAnswer, type CommandContext, onlyOne } from '../context.ts'
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

/** The cluster that a token is written to: that of the token; for a new one, the one that is configured for it. */
export async function chooseTarget(
  context: CommandContext,
  token: string,
): Promise<{ readonly api: WaiterApi; readonly stored: StoredToken | undefined }> {
  const { answers, hasFailed } = await askAll(context, api => api.readToken(token))
  if (hasFailed)
    throw cliError('notDone', `not every cluster could be asked whether it has ${token}; say which with --cluster NAME`)
  const found = await choosePrimary(context, answers, token)
  if (found !== undefined) return found
  const defaults = context.apis.length === 1 ? context.apis : context.apis.filter(api => api.cluster.isDefaultForCreate)
  const [api] = defaults
  if (api !== undefined && defaults.length === 1) return { api, stored: undefined }
  throw cliError(
    'usage',
    `${token} is new: say where with --cluster NAME, or give exactly one cluster "default-for-create": true`,
  )
}

async function lookUpToken(
  context: CommandContext,
  token: string,
): Promise<{ readonly api: WaiterApi; readonly stored: StoredToken } | undefined> {
  const { answers } = await askAll(context, api => api.readToken(token))
  return await choosePrimary(context, answers, token)
}

/**
 * Of the clusters of one group, which hold the same tokens, the one that the latest copy says it belongs to (spec
 * §10.1). A cluster without a group is one of its own.
 */
async function choosePrimary(
  context: CommandContext,
  answers: readonly ClusterAnswer<StoredToken | undefined>[],
  token: string,
): Promise<{ readonly api: WaiterApi; readonly stored: StoredToken } | undefined> {
  const found = answers.flatMap(({ api, value }) => (value === undefined ? [] : [{ api, value }]))
  const groups = new Set(found.map(({ api }) => api.cluster.syncGroup))
  const isOneGroup = groups.size === 1 && !groups.has(undefined)
  const [first] = found
  if (first === undefined || found.length === 1 || !isOneGroup) {
    const only = onlyOne(found, `token ${token}`)
    return only && { api: only.api, stored: only.value }
  }
  const updatedAt = ({ value }: typeof first): number => Date.parse(textOf(value.body, 'last-update-time')) || 0
  const latest = found.reduce((best, one) => (updatedAt(one) > updatedAt(best) ? one : best))
  const home = textOf(latest.value.body, 'cluster').toLowerCase()
  for (const { api, value } of found)
    if (api.cluster.name.toLowerCase() === home || (await api.clusterName()).toLowerCase() === home)
      return { api, stored: value }
  const names = context.apis.map(api => api.cluster.name).join(', ')
  throw cliError('notDone', `token ${token} belongs to cluster ${JSON.stringify(home)}, which is none of ${names}`)
}

function inClusters({ apis }: CommandContext): string {
  return ` in ${apis.map(api => api.cluster.name).join(', ')}`
}
