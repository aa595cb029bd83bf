import type { BackendProtocol } from '@waiter/proxy'
import type { StatusCheck } from '@waiter/slots'
import { askPage } from '../api/ask-page.ts'
import { judgeLocation } from './async-location.ts'

/** An instance says within this whether it still works, or is taken to be busy. */
const STATUS_TIMEOUT_MS = 5_000

/** What an instance is asked about a request that it works on. */
export interface StatusQuestion {
  readonly protocol: BackendProtocol
  readonly host: string
  readonly port: number
  /** Path and query. */
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
}

/** Asks an instance for the status of its work (spec §8.3). Never fails: that nobody answers is an answer. */
export async function askStatus(question: StatusQuestion): Promise<StatusCheck> {
  const { protocol, host, port, target, headers } = question
  const deadlineMs = performance.now() + STATUS_TIMEOUT_MS
  try {
    const page = await askPage({ proto: protocol, host, port, path: target, headers, timeoutMs: STATUS_TIMEOUT_MS })
    return { kind: 'answered', status: page.status, location: judgeLocation(page.headers['location'], question).kind }
  } catch {
    return { kind: performance.now() >= deadlineMs ? 'unanswered' : 'unreachable' }
  }
}

/** Fields of lines made by `renderHeader`, for a client that takes them one by one. */
export function fieldsOfLines(lines: string): Record<string, string> {
  const pairs = lines.split('\r\n').filter(line => line !== '')
  return Object.fromEntries(pairs.map(line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]))
}
