import type { ServiceDescription } from '@waiter/services'

const HIDDEN = '<hidden>'

/** People keep secrets in `env`: only who manages a service sees the values of its variables; others see the names. */
export function visibleDescription<Description extends ServiceDescription>(
  description: Description,
  isManager: boolean,
): Description {
  const { env } = description
  if (isManager || env === undefined) return description
  return { ...description, env: Object.fromEntries(Object.keys(env).map(name => [name, HIDDEN])) }
}
