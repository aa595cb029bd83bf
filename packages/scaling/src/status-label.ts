/** How a service is doing, in one word (spec §5.2). */
export type StatusLabel = 'Failing' | 'Inactive' | 'Starting' | 'Running'

export interface StatusFacts {
  readonly hasDeploymentError: boolean
  readonly requested: number
  readonly scheduled: number
  readonly healthy: number
}

/** Chooses the label (rule S1); the first that holds, in the order of `StatusLabel`. */
export function statusLabel(facts: StatusFacts): StatusLabel {
  if (facts.hasDeploymentError) return 'Failing'
  if (facts.requested === 0 && facts.scheduled === 0) return 'Inactive'
  return facts.healthy === 0 ? 'Starting' : 'Running'
}
