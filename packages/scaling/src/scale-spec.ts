import type { EffectiveDescription } from '@waiter/services'
import type { ScaleSpec } from './scaling-policy.ts'

/** Reads a service's scaling parameters; a stale service (all its references outdated) keeps one instance at least. */
export function scaleSpecOf(description: EffectiveDescription, options: { readonly isStale: boolean }): ScaleSpec {
  return {
    minInstances: options.isStale ? 1 : description['min-instances'],
    maxInstances: description['max-instances'],
    concurrencyLevel: description['concurrency-level'],
    scaleFactor: description['scale-factor'],
    scaleUpFactor: description['scale-up-factor'],
    scaleDownFactor: description['scale-down-factor'],
    jitterThreshold: description['jitter-threshold'],
    expiredInstanceRestartRate: description['expired-instance-restart-rate'],
  }
}
