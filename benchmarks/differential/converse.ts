import { connect, type Socket } from 'node:net'
import { parseRawResponse } from '../../packages/testkit/src/index.ts'
import type { OddCase } from './generate.ts'
import type { End } from './observation.ts'

/** What a client saw of one conversation. */
export interface Conversation {
  readonly statuses: readonly number[]
  readonly end: End
  readonly nonsense: string
}

const CONVERSATION_MS_MAX = 8_000

/** Sends a case and listens until the proxy closes, or says nothing for `quietMs`. */
export async function converse(port: number, one: OddCase, quietMs: number): Promise<Conversation> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true })
  let received = Buffer.alloc(0)
  const over = Promise.withResolvers<End>()
  const finish = over.resolve
  let quiet = setTimeout(() => finish('open'), CONVERSATION_MS_MAX)
  const deadline = setTimeout(() => finish('open'), CONVERSATION_MS_MAX)
  const listen = (): void => {
    clearTimeout(quiet)
    quiet = setTimeout(() => finish('open'), quietMs)
  }
  socket.on('data', piece => {
    received = Buffer.concat([received, piece])
    listen()
  })
  socket
    .on('end', () => finish('closed'))
    .on('error', () => finish('closed'))
    .on('close', () => finish('closed'))
  await new Promise<void>(resolve => socket.once('connect', resolve).once('error', () => resolve()))
  await send(socket, one)
  listen()
  const end = await over.promise
  clearTimeout(quiet)
  clearTimeout(deadline)
  socket.destroy()
  return { ...readAnswers(received, end === 'closed'), end }
}

async function send(socket: Socket, { bytes, cuts, endsWithFin }: OddCase): Promise<void> {
  let from = 0
  for (const cut of [...cuts, bytes.length]) {
    if (cut > from && !socket.destroyed) socket.write(bytes.subarray(from, cut))
    from = Math.max(from, cut)
    await new Promise(resolve => setImmediate(resolve))
  }
  if (endsWithFin) socket.end()
}

function readAnswers(bytes: Buffer, hasEnded: boolean): { statuses: number[]; nonsense: string } {
  const statuses: number[] = []
  let rest = bytes
  try {
    while (rest.length > 0) {
      const behindHead = rest.indexOf('\r\n\r\n') + 4
      // The answer to a HEAD has a length, but no body.
      const isHead = behindHead === rest.length || rest.subarray(behindHead).toString('latin1').startsWith('HTTP/1.')
      const parsed = parseRawResponse(rest, { hasEnded, isHead })
      if (parsed === undefined) break
      rest = rest.subarray(parsed.consumedBytes)
      if (parsed.response.status >= 200) statuses.push(parsed.response.status)
    }
    return { statuses, nonsense: '' }
  } catch (error) {
    return { statuses, nonsense: (error as Error).message }
  }
}
