import type { ServiceDescription } from './description.ts'

/** Does traffic reach this service past Waiter (spec §2.7)? Then its instances report their load themselves. */
export function isBypassService(description: ServiceDescription): boolean {
  const mode = description['routing-mode'] ?? 'default'
  if (mode === 'headless' || mode.startsWith('ingress-')) return true
  return description.metadata?.['waiter-proxy-bypass-opt-in'] === 'true'
}
