import { setTimeout as wait } from 'node:timers/promises'
import type { CommandContext } from '../context.ts'
import { cliError, EXIT } from '../errors.ts'
import { objectOf, textOf } from '../http/waiter-api.ts'
import { waitForSsl } from './ensure-ssl.ts'
import { chooseService, findToken } from './find.ts'
import { ping } from './ping.ts'

const MS_PER_S = 1_000
const POLL_MS = 2_000

export interface ReadyOptions {
  readonly pingTimeout: number
  readonly connectTimeout: number
  readonly image?: string
  readonly version?: string
  readonly port: number
}

/** `waiter ready TOKEN`: its service answers, is the version that is expected, and can be reached by its name over TLS. */
export async function ready(context: CommandContext, token: string, options: ReadyOptions): Promise<number> {
  const code = await ping(context, token, { timeout: options.pingTimeout, wait: true })
  if (code !== EXIT.ok) return code
  await waitForExpected(context, token, options)
  return await waitForSsl(context, token, { timeout: options.connectTimeout, port: options.port })
}

async function waitForExpected(context: CommandContext, token: string, options: ReadyOptions): Promise<void> {
  const { image, version, pingTimeout } = options
  const expected = Object.entries({ image, version }).filter((pair): pair is [string, string] => pair[1] !== undefined)
  const deadlineMs = performance.now() + pingTimeout * MS_PER_S
  while (expected.length > 0) {
    const { api } = await findToken(context, token)
    const service = chooseService(await api.listServicesOf(token), token)
    const description = objectOf(service ?? {}, 'service-description')
    const wrong = expected.filter(([key, value]) => textOf(description, key) !== value)
    if (wrong.length === 0) return
    if (performance.now() + POLL_MS >= deadlineMs) {
      const told = wrong.map(
        ([key, value]) => `${key} is ${JSON.stringify(textOf(description, key))}, not ${JSON.stringify(value)}`,
      )
      throw cliError('notDone', `the service of ${token} is not what is expected: ${told.join('; ')}`)
    }
    await wait(POLL_MS)
  }
}
