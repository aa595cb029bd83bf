import type { ServiceDefinition } from '@waiter/services'
import { schedulerError } from '../errors.ts'

/** Names become directory names; with the unique part and `.json` they must stay below 255 bytes. */
const SERVICE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/

/**
 * Refuses services that cannot run as local processes.
 *
 * @throws WaiterError `WTR_UNSUPPORTED_SERVICE`
 */
export function assertRunnable(definition: ServiceDefinition): void {
  const { effective, id } = definition
  if (effective.image !== undefined) {
    throw unsupported(
      `The process scheduler runs no container images: remove image (${effective.image}) or use another scheduler.`,
    )
  }
  const cmdType = effective['cmd-type'] ?? 'shell'
  if (cmdType !== 'shell') {
    throw unsupported(
      `The process scheduler runs shell commands only: cmd-type is ${cmdType}, use shell or leave it out.`,
    )
  }
  if (!SERVICE_ID.test(id)) {
    throw unsupported(
      `${JSON.stringify(id)} is no usable service id: letters, digits, dot, dash; at most 200 characters.`,
    )
  }
}

function unsupported(message: string): Error {
  return schedulerError('WTR_UNSUPPORTED_SERVICE', message)
}
