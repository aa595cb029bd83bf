import type { ServiceView } from '@waiter/control'
import { computeEffectiveDescription } from '@waiter/services'
import type { ApiParts } from './api-context.ts'

/**
 * A service that the leader does not have, because nothing has started it yet or it was deleted, and that a router was
 * asked about (spec §4.3: 404 is for ids of which nobody knows the description).
 */
export async function viewInactive(parts: ApiParts, id: string): Promise<ServiceView | undefined> {
  const { descriptions, options } = parts
  const core = descriptions.find(id) ?? ((await descriptions.learn(id)) ? descriptions.find(id) : undefined)
  if (core === undefined) return undefined
  const overrides = (await parts.overrides.read(id))?.overrides
  return {
    definition: { id, core, effective: computeEffectiveDescription(core, options.services, overrides) },
    summary: {
      status: 'Inactive',
      healthy: 0,
      unhealthy: 0,
      requested: 0,
      scalingState: 'stable',
      problem: null,
      sourceTokens: [],
      isOnTheFly: false,
      isStale: false,
      startTrouble: null,
      successions: [],
      outstanding: 0,
      total: 0,
      lastRequestMs: 0,
    },
    instances: [],
    scaling: { target: 0, reason: 'Nothing has asked for it since it was described or deleted.' },
  }
}
