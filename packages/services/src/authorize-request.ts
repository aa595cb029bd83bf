import { err, ok, type Result } from '@waiter/base'
import type { Descriptor, DescriptorError } from './descriptor.ts'
import type { Entitlements } from './token.ts'

/** May the requester start and use this service (spec §7.8)? Refusals are 403 with the reason. */
export function authorizeRequest(
  descriptor: Pick<Descriptor, 'isAuthenticationDisabled' | 'isPreauthorized' | 'effective'>,
  requester: string | undefined,
  entitlements: Entitlements,
): Result<undefined, DescriptorError> {
  if (descriptor.isAuthenticationDisabled) return ok(undefined)
  const runAsUser = descriptor.effective['run-as-user']
  const permittedUser = descriptor.effective['permitted-user']
  const mayRun = descriptor.isPreauthorized || (requester !== undefined && entitlements.mayRunAs(requester, runAsUser))
  if (!mayRun) {
    return err(
      forbidden('Authenticated user cannot run service', { 'authenticated-user': requester, 'run-as-user': runAsUser }),
    )
  }
  if (permittedUser !== '*' && permittedUser !== requester) {
    return err(
      forbidden("This user isn't allowed to invoke this service", {
        'authenticated-user': requester,
        'permitted-user': permittedUser,
      }),
    )
  }
  return ok(undefined)
}

function forbidden(message: string, details: Readonly<Record<string, unknown>>): DescriptorError {
  return { kind: 'forbidden', status: 403, message, errorClass: 'waiter.ServiceForbidden', details }
}
