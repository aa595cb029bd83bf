import { spawn } from 'node:child_process'
import type { CommandContext } from '../context.ts'
import { cliError } from '../errors.ts'
import { textOf } from '../http/waiter-api.ts'
import { chooseInstance, type InstanceChoice } from './choose-instance.ts'

export interface SshOptions {
  readonly serviceId?: boolean
  readonly instanceId?: boolean
  readonly active: boolean
  readonly failed: boolean
  readonly killed: boolean
}

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/

/** `waiter ssh`: a shell, or a command, in the directory of an instance, on its host. Ends as `ssh` ends. */
export async function ssh(
  context: CommandContext,
  name: string,
  words: readonly string[],
  options: SshOptions,
): Promise<number> {
  const wanted: InstanceChoice['states'] = (['active', 'failed', 'killed'] as const).filter(state => options[state])
  if (wanted.length === 0) throw cliError('usage', 'no state of instances is left to look for')
  const { api, instance } = await chooseInstance(context, name, {
    isServiceId: options.serviceId === true,
    isInstanceId: options.instanceId === true,
    states: wanted,
  })
  const directory = textOf(instance, 'log-directory')
  if (directory === '')
    throw cliError(
      'notDone',
      `Waiter does not say where instance ${textOf(instance, 'id')} is; only who manages it may know`,
    )
  const host = textOf(instance, 'host')
  // Local processes have addresses of their own on the machine of their Waiter.
  const target = LOOPBACK.test(host) ? new URL(api.cluster.url).hostname : host
  if (target.startsWith('-')) throw cliError('notDone', `${JSON.stringify(target)} is no host`)
  context.io.err(`waiter: instance ${textOf(instance, 'id')} on ${target}`)
  const command = words.length === 0 ? 'exec "$SHELL"' : words.join(' ')
  return await run(process.env['WAITER_SSH'] ?? 'ssh', ['-t', target, `cd ${quote(directory)} && ${command}`])
}

/** For a shell, whatever is in it. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function run(program: string, args: readonly string[]): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const child = spawn(program, args, { stdio: 'inherit' })
  child.once('error', error => reject(cliError('notDone', `cannot run ${program}: ${error.message}`, error)))
  child.once('close', code => resolve(code ?? 1))
  return promise
}
