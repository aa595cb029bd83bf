import { readFileSync } from 'node:fs'

/** The version of this Waiter, from package.json. */
export const VERSION: string = readVersion()

function readVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : 'unknown'
}

/** Grows when control nodes of different releases cannot be members of one group. */
export const CLUSTER_PROTOCOL = 2
