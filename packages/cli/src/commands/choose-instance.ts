import type { CommandContext } from '../context.ts'
import { cliError } from '../errors.ts'
import { type Json, listOf, objectOf, textOf, type WaiterApi } from '../http/waiter-api.ts'
import { chooseService, findDestination } from './find.ts'

/** Which instances a command is about. */
export interface InstanceChoice {
  /** The name is the id of a service. */
  readonly isServiceId: boolean
  /** The name is the id of an instance. */
  readonly isInstanceId: boolean
  /** States to look in, best first: `active`, `failed`, `killed`. */
  readonly states: readonly ('active' | 'failed' | 'killed')[]
}

export interface ChosenInstance {
  readonly api: WaiterApi
  readonly serviceId: string
  readonly instance: Json
}

/** The instance that a token, a service or an instance's own id means: of a service the newest healthy one. */
export async function chooseInstance(
  context: CommandContext,
  name: string,
  { isServiceId, isInstanceId, states }: InstanceChoice,
): Promise<ChosenInstance> {
  // `<service id>.<the rest>`
  const serviceName = isInstanceId ? name.replace(/\.[^.]*$/s, '') : name
  const found = await findDestination(context, serviceName, isServiceId || isInstanceId)
  const serviceId = found.kind === 'service' ? found.serviceId : await serviceOf(found.api, name)
  const service = (await found.api.readService(serviceId)) ?? {}
  const all = states.flatMap(state => listOf(objectOf(service, 'instances'), `${state}-instances`).toSorted(bestFirst))
  const instance = isInstanceId ? all.find(one => textOf(one, 'id') === name) : all[0]
  if (instance !== undefined) return { api: found.api, serviceId, instance }
  const what = isInstanceId ? `no instance ${JSON.stringify(name)}` : 'no instance'
  throw cliError('notFound', `service ${serviceId} has ${what} that is ${states.join(' or ')}`)
}

async function serviceOf(api: WaiterApi, token: string): Promise<string> {
  const service = chooseService(await api.listServicesOf(token), token)
  if (service !== undefined) return textOf(service, 'service-id')
  throw cliError('notFound', `nothing runs for token ${token}; \`waiter ping ${token}\` starts it`)
}

function bestFirst(a: Json, b: Json): number {
  const health = Number(b['healthy?'] === true) - Number(a['healthy?'] === true)
  return health === 0 ? textOf(b, 'started-at').localeCompare(textOf(a, 'started-at')) : health
}
