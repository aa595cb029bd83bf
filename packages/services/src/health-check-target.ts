import type { BackendProto, EffectiveDescription } from './description.ts'

/** Where and how to ask an instance whether it is healthy. */
export interface HealthCheckTarget {
  /** 0 is `$PORT0`. */
  readonly portIndex: number
  readonly proto: BackendProto
  /** Path and query of the request. */
  readonly url: string
  /** Must the check carry the service's Basic credentials? */
  readonly isAuthenticated: boolean
}

/** Health checks use the protocol of the backend unless the description says otherwise (spec §2.1). */
export function computeHealthCheckTarget(effective: EffectiveDescription): HealthCheckTarget {
  return {
    portIndex: effective['health-check-port-index'],
    proto: effective['health-check-proto'] ?? effective['backend-proto'],
    url: effective['health-check-url'],
    isAuthenticated: effective['health-check-authentication'] === 'standard',
  }
}
