import { WaiterError } from '@waiter/base'
import type { Cluster } from '../config/cluster.ts'
import { cliError, ERRORS } from '../errors.ts'
import { printable } from '../output/printable.ts'
import type { ApiAnswer, ApiRequest } from './client.ts'

/** A body that is not Waiter's is shown this far. */
const BODY_CHARS_SHOWN = 300
const UNAUTHORIZED = 401

/** `local (http://127.0.0.1:9091)` */
export function labelOf({ name, url }: Cluster): string {
  return name === url ? url : `${name} (${url})`
}

/** There was no answer. */
export function connectionProblem(cluster: Cluster, error: Error): WaiterError {
  const code = (error as NodeJS.ErrnoException).code
  const hint =
    code === 'ECONNREFUSED'
      ? 'Nobody listens there: start a Waiter with `waiter up`, or name another with --url or --cluster.'
      : code?.startsWith('ERR_TLS') || code?.includes('CERT') || code?.includes('SIGNED')
        ? 'Its certificate is not trusted: give the authority that signed it in NODE_EXTRA_CA_CERTS.'
        : 'Check the URL and whether a Waiter runs there.'
  const what = error.message === '' ? (code ?? 'failed') : error.message
  return cliError('unreachable', `Encountered connection error with ${labelOf(cluster)}: ${what}. ${hint}`, error)
}

/** The answer is not what was hoped for; says what Waiter said. */
export function refusal(cluster: Cluster, request: ApiRequest, answer: ApiAnswer): WaiterError {
  if (answer.status === UNAUTHORIZED)
    return cliError(
      'authentication',
      `Authentication failed on ${labelOf(cluster)}. ${
        cluster.credentials === undefined
          ? 'Say who you are with http.auth in .waiter.json (docs/cli.md).'
          : 'It does not know the user or key of http.auth in .waiter.json.'
      }`,
    )
  const said = readWaiterError(answer)
  const location = answer.header('location')
  const what =
    said?.message ??
    (location === undefined ? `it answered:\n${shorten(answer.body)}` : `it sends elsewhere: ${printable(location)}`)
  const where = `${labelOf(cluster)} refused ${request.method} ${request.path.replace(/\?.*/s, '')} (${answer.status})`
  const isWaiter = said !== undefined
  return new WaiterError(`${where}: ${what}${isWaiter ? '' : '\nIs that a Waiter?'}`, {
    code: said?.code ?? ERRORS.refused,
    status: answer.status,
    details: said?.details ?? {},
  })
}

/** A waiter-error as JSON, if that is what the answer holds. */
export function readWaiterError(
  answer: ApiAnswer,
): { message: string; code: string | undefined; details: Record<string, unknown> } | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(answer.body.toString('utf8'))
  } catch {
    return undefined
  }
  const error = (parsed as { 'waiter-error'?: { message?: unknown; details?: unknown } } | null)?.['waiter-error']
  if (typeof error?.message !== 'string') return undefined
  const details = (error.details ?? {}) as Record<string, unknown>
  const code = details.code
  return { message: printable(error.message), code: typeof code === 'string' ? code : undefined, details }
}

function shorten(body: Buffer): string {
  const text = printable(body.toString('utf8')).trim()
  return text.length > BODY_CHARS_SHOWN ? `${text.slice(0, BODY_CHARS_SHOWN)}…` : text
}
