import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { StartedWaiter } from '@waiter/testkit'

/** The whole lines of the first node's request log. */
export function readRequestLog(waiter: Pick<StartedWaiter, 'dataDirectory'>): Record<string, unknown>[] {
  return readFileSync(join(waiter.dataDirectory, 'logs', 'node-1-router-requests.log'), 'utf8')
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line) as Record<string, unknown>)
}
