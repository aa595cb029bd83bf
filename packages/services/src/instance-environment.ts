import { assert } from '@waiter/base'
import type { ServiceDefinition } from './description.ts'
import { CONFIG_TOKEN_VARIABLE } from './resolve-descriptor.ts'

export interface InstanceEnvironmentInput {
  readonly definition: ServiceDefinition
  readonly clusterName: string
  /** By which instances of this service know Waiter; whoever composes the process derives it. */
  readonly password: string
  readonly home: string
  /** The instance's ports, `$PORT0` first; at least as many as the description asks for. */
  readonly ports: readonly number[]
  /** More variables of the scheduler, for example `WAITER_SANDBOX`; they win over the user's. */
  readonly schedulerVariables?: Readonly<Record<string, string>>
}

/**
 * The environment of one instance (spec §2.5): the user's variables, then Waiter's own, which always win. Nothing of
 * Waiter's process environment is in it. Holds the service password: never log it.
 */
export function computeInstanceEnvironment(input: InstanceEnvironmentInput): Record<string, string> {
  const { definition, ports } = input
  const { effective, id } = definition
  assert(ports.length >= effective.ports, `an instance of ${id} has as many ports as its description asks for`)
  const { [CONFIG_TOKEN_VARIABLE]: token, ...userVariables } = effective.env
  const environment: Record<string, string> = {
    ...userVariables,
    HOME: input.home,
    LOGNAME: effective['run-as-user'],
    USER: effective['run-as-user'],
    WAITER_CLUSTER: input.clusterName,
    WAITER_CONCURRENCY_LEVEL: String(effective['concurrency-level']),
    WAITER_CPUS: String(effective.cpus),
    WAITER_MEM_MB: String(effective.mem),
    WAITER_METRIC_GROUP: effective['metric-group'],
    WAITER_PASSWORD: input.password,
    WAITER_SERVICE_ID: id,
    WAITER_USERNAME: 'waiter',
    ...(token === undefined ? {} : { WAITER_TOKEN: token }),
    ...input.schedulerVariables,
  }
  for (const [index, port] of ports.entries()) environment[`PORT${index}`] = String(port)
  return environment
}
