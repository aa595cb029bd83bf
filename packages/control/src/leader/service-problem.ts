import type { decideDeploymentError } from '@waiter/scaling'
import type { ServiceProblem } from '../agent/leader-link.ts'

/** Why nothing of a service comes up, for those who ask for it: what was found out, else why the scheduler refused it. */
export function describeProblem(
  found: ReturnType<typeof decideDeploymentError>,
  refusal: ServiceProblem | null,
): ServiceProblem | null {
  if (found === undefined) return refusal && { key: refusal.key, message: refusal.message, details: refusal.details }
  const { code, message, advice, failedInstances, newestFailure } = found
  const newest =
    newestFailure === null
      ? {}
      : {
          'instance-id': newestFailure.instanceId,
          'exit-code': newestFailure.exitCode,
          'instance-message': newestFailure.message,
          stderr: newestFailure.stderrLines,
        }
  return { key: code, message, details: { advice, 'failed-instances': failedInstances, ...newest } }
}
