import { type CommandContext, type FormatOptions, formatOf, print } from '../context.ts'
import { cliError, EXIT } from '../errors.ts'
import { labelOf } from '../http/problems.ts'
import { textOf } from '../http/waiter-api.ts'
import { findToken, isInUse } from './find.ts'

export interface DeleteOptions extends FormatOptions {
  readonly force?: boolean
}

/** `waiter delete TOKEN`: refuses while a service is in use, and when somebody changes the token meanwhile. */
export async function deleteToken(context: CommandContext, token: string, options: DeleteOptions): Promise<number> {
  const format = formatOf(options)
  const { api, stored } = await findToken(context, token)
  if (options.force !== true) {
    const using = (await api.listServicesOf(token)).filter(isInUse)
    if (using.length > 0) {
      const many = using.length === 1 ? 'is one service' : `are ${using.length} services`
      const ids = using.map(service => `  ${textOf(service, 'service-id')} (${textOf(service, 'status')})`)
      throw cliError(
        'notDone',
        `There ${many} using token ${token}:\n${ids.join('\n')}\n` +
          `Nothing was deleted. Stop ${using.length === 1 ? 'it' : 'them'} first (waiter kill), ` +
          'wait until idle, or use --force: requests that run are served, and services stop when idle.',
      )
    }
  }
  await api.deleteToken(token, stored.etag)
  if (format === 'text') context.io.out(`Successfully deleted ${token} in ${labelOf(api.cluster)}.`)
  else await print(context.io, { token, cluster: api.cluster.name, result: 'deleted' }, format)
  return EXIT.ok
}
