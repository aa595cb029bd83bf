import { setTimeout as wait } from 'node:timers/promises'
import { connect } from 'node:tls'
import type { CommandContext } from '../context.ts'
import { cliError, EXIT } from '../errors.ts'
import { printable } from '../output/printable.ts'

const MS_PER_S = 1_000
const RETRY_MS = 1_000

export interface EnsureSslOptions {
  readonly timeout: number
  readonly port: number
}

/** `waiter ensure-ssl TOKEN`: can the token's host be reached over TLS, with a certificate that is trusted for its name? */
export async function ensureSsl({ io }: CommandContext, token: string, options: EnsureSslOptions): Promise<number> {
  const problem = await shakeHands(token, options.port, options.timeout * MS_PER_S)
  if (problem !== undefined) throw cliError('notDone', `no TLS with ${token}:${options.port}: ${problem}`)
  io.out(printable(`TLS with ${token}:${options.port} works.`))
  return EXIT.ok
}

/** The same again and again until it works, or the time is over. */
export async function waitForSsl(context: CommandContext, token: string, options: EnsureSslOptions): Promise<number> {
  const deadlineMs = performance.now() + options.timeout * MS_PER_S
  for (;;) {
    const leftMs = Math.max(1, deadlineMs - performance.now())
    const problem = await shakeHands(token, options.port, leftMs)
    if (problem === undefined || performance.now() + RETRY_MS >= deadlineMs) break
    await wait(RETRY_MS)
  }
  return await ensureSsl(context, token, { ...options, timeout: 1 })
}

/** @returns what is wrong; undefined: nothing */
function shakeHands(host: string, port: number, timeoutMs: number): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const socket = connect({ host, port, servername: host })
  const timer = setTimeout(() => resolve(`no answer within ${Math.round(timeoutMs)} ms`), timeoutMs)
  socket.once('secureConnect', () => resolve(undefined))
  socket.once('error', error => resolve(error.message))
  return promise.finally(() => {
    clearTimeout(timer)
    socket.destroy()
  })
}
