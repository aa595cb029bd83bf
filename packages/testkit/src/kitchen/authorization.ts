import type { IncomingMessage } from 'node:http'
import type { KitchenOptions } from './options.ts'

const OPEN_PATHS: ReadonlySet<string> = new Set(['/bad-status', '/sleep'])

/** Basic authentication against WAITER_USERNAME and WAITER_PASSWORD, when the environment has both. */
export function isAuthorized(request: IncomingMessage, path: string, options: KitchenOptions): boolean {
  const { WAITER_USERNAME, WAITER_PASSWORD } = process.env
  if (!WAITER_USERNAME || !WAITER_PASSWORD) return true
  if (OPEN_PATHS.has(path) || (path === '/status' && !options.enableHealthCheckAuthentication)) return true
  const expected = Buffer.from(`${WAITER_USERNAME}:${WAITER_PASSWORD}`).toString('base64')
  return request.headers.authorization === `Basic ${expected}`
}
