import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { parseRawResponse, type RawResponse } from './raw-response.ts'
import { type WaitOptions, within } from './wait.ts'

/** Where to connect. */
export interface RawTarget {
  readonly port: number
  /** `127.0.0.1` by default. */
  readonly host?: string
  /** TLS without checking the certificate. */
  readonly tls?: boolean
}

/** A connection on which a test writes the bytes itself. */
export interface RawConnection {
  /** For half-closing, pausing, resetting: `end()`, `pause()`, `resetAndDestroy()`. */
  readonly socket: Socket
  /** Resolves when the bytes are handed to the system. Text is sent as Latin-1. */
  write(bytes: string | Uint8Array): Promise<void>
  /**
   * The next response, 1xx ones included. Rejects when the connection ends without one, or the bytes are not HTTP/1.
   *
   * @param options `isHead` when it answers a HEAD
   */
  nextResponse(options?: WaitOptions & { readonly isHead?: boolean }): Promise<RawResponse>
  /** Received, but not part of any response that was taken. */
  rest(): Buffer
  /** How the other side closed: `end` (FIN), or an error's code such as `ECONNRESET`. */
  readonly closed: Promise<string>
  destroy(): void
}

/** Connects; text and bytes then go out exactly as written. */
export async function connectRaw(target: RawTarget): Promise<RawConnection> {
  const socket = await open(target)
  let held = Buffer.alloc(0)
  let ending: string | undefined
  let wake: (() => void) | undefined
  const closed = Promise.withResolvers<string>()
  const finish = (how: string): void => {
    ending ??= how
    closed.resolve(ending)
    wake?.()
  }
  socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk])
    wake?.()
  })
  socket.once('end', () => finish('end'))
  socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message))
  socket.once('close', () => finish('closed'))
  const take = async (isHead: boolean): Promise<RawResponse> => {
    for (;;) {
      const parsed = parseRawResponse(held, { hasEnded: ending !== undefined, isHead })
      if (parsed !== undefined) {
        held = held.subarray(parsed.consumedBytes)
        return parsed.response
      }
      if (ending !== undefined) throw new Error(`the connection ended (${ending}) without a response`)
      await new Promise<void>(resolve => {
        wake = resolve
      })
    }
  }
  return {
    socket,
    write: bytes =>
      new Promise((resolve, reject) => {
        const data = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes
        socket.write(data, error => (error ? reject(error) : resolve()))
      }),
    nextResponse: (options = {}) => within(take(options.isHead === true), 'a response', options),
    rest: () => held,
    closed: closed.promise,
    destroy: () => void socket.destroy(),
  }
}

/** What `rawRequest` found out. */
export interface RawExchange {
  readonly responses: readonly RawResponse[]
  /** Bytes after the last response that was asked for. */
  readonly rest: Buffer
}

/**
 * Sends `bytes` and reads `responses` responses (1 by default; 1xx count), then drops the connection.
 *
 * @example
 * const { responses } = await rawRequest({ port, bytes: 'GET / HTTP/1.1\r\nhost: a\r\n\r\n' })
 */
export async function rawRequest(
  wanted: RawTarget &
    WaitOptions & { readonly bytes: string | Uint8Array; readonly responses?: number; readonly isHead?: boolean },
): Promise<RawExchange> {
  const connection = await connectRaw(wanted)
  try {
    // Not awaited by itself: the other side may answer and close before it has read everything.
    const writing = connection.write(wanted.bytes).catch(() => undefined)
    const responses: RawResponse[] = []
    while (responses.length < (wanted.responses ?? 1)) responses.push(await connection.nextResponse(wanted))
    await Promise.race([writing, connection.closed])
    return { responses, rest: connection.rest() }
  } finally {
    connection.destroy()
  }
}

async function open(target: RawTarget): Promise<Socket> {
  const where = { host: target.host ?? '127.0.0.1', port: target.port }
  const socket = target.tls ? connectTls({ ...where, rejectUnauthorized: false }) : connect(where)
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.once(target.tls ? 'secureConnect' : 'connect', () => {
      socket.off('error', reject)
      resolve()
    })
  })
  return socket
}
