import type { CommandContext } from '../context.ts'
import { EXIT } from '../errors.ts'
import { textOf } from '../http/waiter-api.ts'
import { printable } from '../output/printable.ts'
import { chooseInstance } from './choose-instance.ts'

const MS_PER_S = 1_000

export interface SignalOptions {
  readonly serviceId?: boolean
  readonly instanceId?: boolean
  readonly force?: boolean
  readonly timeout?: number
}

/** `waiter instance expire|kill`: replaces one instance, or stops it. */
export async function signalInstance(
  context: CommandContext,
  kind: 'expire' | 'kill',
  name: string,
  options: SignalOptions,
): Promise<number> {
  const { api, serviceId, instance } = await chooseInstance(context, name, {
    isServiceId: options.serviceId === true,
    isInstanceId: options.instanceId === true,
    states: ['active'],
  })
  const { isDone, message } = await api.signalInstance({
    serviceId,
    instanceId: textOf(instance, 'id'),
    kind,
    isForced: options.force === true,
    timeoutMs: options.timeout === undefined ? undefined : options.timeout * MS_PER_S,
  })
  if (isDone) context.io.out(printable(message))
  else context.io.err(`waiter: ${message}`)
  return isDone ? EXIT.ok : EXIT.failed
}
