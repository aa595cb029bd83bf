import type { ServicesConfig } from './config.ts'
import { canonicalJson, type JsonObject, ownValue } from './json.ts'
import type { Entitlements, TokenError, TokenRecord } from './token.ts'
import { tokenError } from './token-name.ts'

export interface TokenAuthorizationInput {
  readonly token: string
  /** The stored token; undefined when there is none or it is deleted. */
  readonly live: TokenRecord | undefined
  /** The editable part as it would be stored, owner included. */
  readonly edited: JsonObject
  readonly owner: string
  readonly isAdminMode: boolean
  readonly ifMatch?: string | undefined
  readonly requester: string
  readonly countLiveTokens: (owner: string) => number
  readonly entitlements: Entitlements
  readonly config: ServicesConfig
}

/** May the requester write this token (spec §3.3 points 6 and 7)? Undefined: yes. */
export function authorizeTokenPost(input: TokenAuthorizationInput): TokenError | undefined {
  if (input.isAdminMode) return authorizeAdmin(input)
  const { token, owner, entitlements } = input
  const refusal = input.live === undefined ? authorizeNew(input) : authorizeChange(input, input.live)
  if (refusal !== undefined) return refusal
  const runAsUser = concreteRunAsUser(input)
  if (runAsUser === undefined || entitlements.mayRunAs(owner, runAsUser)) return undefined
  return tokenError(403, `Owner '${owner}' cannot run as user '${runAsUser}'`, { token })
}

function authorizeAdmin({ token, live, ifMatch, requester, entitlements }: TokenAuthorizationInput) {
  if (!entitlements.mayAdminister(requester)) {
    return tokenError(403, 'Cannot administer token', { 'authenticated-user': requester, token })
  }
  if (live === undefined || ifMatch !== undefined) return undefined
  return tokenError(400, 'Must specify if-match header for admin mode token updates', { token })
}

function authorizeNew(input: TokenAuthorizationInput): TokenError | undefined {
  const { token, owner, requester, entitlements, config } = input
  const details = { 'authenticated-user': requester, token }
  if (!entitlements.mayRunAs(requester, owner)) {
    return tokenError(403, `Cannot create token as provided owner: ${owner}`, details)
  }
  const runAsUser = concreteRunAsUser(input)
  if (runAsUser !== undefined && !entitlements.mayRunAs(requester, runAsUser)) {
    return tokenError(403, `Authenticated user '${requester}' cannot run as user '${runAsUser}'`, details)
  }
  const limit = config.token.liveTokensPerOwnerMax
  if (input.countLiveTokens(owner) < limit) return undefined
  return tokenError(
    403,
    `You have reached the limit of number of tokens allowed. ${owner} owns ${limit} tokens; delete one first.`,
    { limit, owner, token },
  )
}

const NOT_FOR_EDITORS = ['editor', 'owner', 'run-as-user']

function authorizeChange(input: TokenAuthorizationInput, live: TokenRecord): TokenError | undefined {
  const { token, requester, entitlements } = input
  if (entitlements.mayManageToken(requester, live.owner)) return undefined
  if (live.editor !== requester) {
    return tokenError(
      403,
      `Cannot update token (${token} is owned by ${live.owner}; its owner, its editor and administrators may change it)`,
      { 'authenticated-user': requester, owner: live.owner, token },
    )
  }
  const changed = NOT_FOR_EDITORS.find(
    key => !isEqual(ownValue(live as unknown as JsonObject, key), ownValue(input.edited, key)),
  )
  return changed === undefined
    ? undefined
    : tokenError(403, `Not allowed to edit parameter ${changed}`, { 'authenticated-user': requester, token })
}

function isEqual(before: unknown, after: unknown): boolean {
  return canonicalJson(before ?? null) === canonicalJson(after ?? null)
}

function concreteRunAsUser({ edited }: TokenAuthorizationInput): string | undefined {
  const runAsUser = ownValue(edited, 'run-as-user')
  return typeof runAsUser === 'string' && runAsUser !== '*' ? runAsUser : undefined
}
