import { type Authenticator, unauthorized } from './authenticator.ts'

/** Nobody gets in by this: users prove who they are by web tokens or a login at an identity provider. */
export const NOBODY: Authenticator = {
  onlyPrincipal: null,
  privateHeaders: [],
  authenticate: () => unauthorized(undefined),
}
