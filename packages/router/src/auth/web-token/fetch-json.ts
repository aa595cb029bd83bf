/** Key sets and answers of token endpoints are small. */
const BODY_BYTES_MAX = 256 * 1024

export interface JsonRequest {
  readonly url: string
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly timeoutMs: number
  /** Whoever waits for it goes away. */
  readonly signal?: AbortSignal
}

/** How identity providers are asked. */
export type FetchJson = (request: JsonRequest) => Promise<unknown>

/**
 * Asks an identity provider for JSON. Redirects are not followed: secrets and codes go only where the configuration says.
 *
 * @throws {Error} that says what came instead, without anything of its content
 */
export const fetchJson: FetchJson = async ({ url, method = 'GET', headers, body, timeoutMs, signal }) => {
  const timeout = AbortSignal.timeout(timeoutMs)
  const response = await fetch(url, {
    method,
    headers: { accept: 'application/json', ...headers },
    ...(body === undefined ? {} : { body }),
    redirect: 'error',
    signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
  })
  if (!response.ok) {
    await response.body?.cancel()
    throw new Error(`it answered ${response.status}`)
  }
  const text = new TextDecoder('utf-8', { fatal: true }).decode(await readLimited(response))
  return JSON.parse(text) as unknown
}

async function readLimited(response: Response): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const piece of response.body ?? []) {
    size += piece.length
    if (size > BODY_BYTES_MAX) throw new Error(`its answer is longer than ${BODY_BYTES_MAX} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}
