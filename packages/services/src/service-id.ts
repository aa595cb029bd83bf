import { md5, type ServiceId } from '@waiter/base'
import type { ServiceDescription } from './description.ts'
import { canonicalJson } from './json.ts'
import { PARAMETERS } from './parameters.ts'

/** The name part of an id is cut there: ids name directories and cluster objects; the hash keeps them apart. */
const NAME_PART_CHARS_MAX = 64

/**
 * `<prefix><name>-<md5>`: the identity of a service. The same core description always gives the same id, in whatever
 * order its keys were written and on every router; any other description gives another one.
 *
 * Only service parameters count, so token metadata (owner, timeouts) does not change a service. `allowed-params` is a set.
 *
 * @example
 * computeServiceId({ name: 'My App', cmd: 'x', … }, 'waiter-service-') // 'waiter-service-myapp-0f3c…'
 */
export function computeServiceId(core: ServiceDescription, prefix: string): ServiceId {
  let canonical = ''
  for (const { name } of PARAMETERS) {
    if (!Object.hasOwn(core, name)) continue
    const value = core[name]
    if (value === undefined) continue
    const text = Array.isArray(value) ? canonicalJson([...new Set(value)].sort()) : canonicalJson(value)
    canonical += `${JSON.stringify(name)}:${text},`
  }
  const namePart = (core.name ?? '')
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '')
    .slice(0, NAME_PART_CHARS_MAX)
  return `${prefix}${namePart}${namePart === '' ? '' : '-'}${md5(canonical)}`
}
