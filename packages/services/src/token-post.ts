import { err, type Millis, ok, type Result } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import type { ServiceDescription } from './description.ts'
import { pickParameters } from './discover-service.ts'
import { canonicalJson, type JsonObject, ownValue } from './json.ts'
import type { Entitlements, TokenError, TokenRecord } from './token.ts'
import { authorizeTokenPost } from './token-authorization.ts'
import { matchesEtag, tokenEtag } from './token-etag.ts'
import { SYSTEM_METADATA } from './token-metadata.ts'
import { tokenError } from './token-name.ts'
import { editableKeys, pickEditable, readSystemMetadata, truncateHistory } from './token-record.ts'
import { validateTokenBody } from './validate-token-body.ts'

export interface TokenPostInput {
  /** The name, from `chooseTokenNameForPost`. */
  readonly token: string
  /** What is stored now, also when it is deleted. */
  readonly existing: TokenRecord | undefined
  /** From `parseTokenBody`. */
  readonly body: JsonObject
  /** Query parameter `update-mode`: absent or `admin`. */
  readonly updateMode?: string | undefined
  readonly ifMatch?: string | undefined
  /** The `Host` of the request; decides the token's cluster. */
  readonly host?: string | undefined
  readonly requester: string
  readonly nowMs: Millis
  /** How many live tokens an owner has. Asked for new tokens only. */
  readonly countLiveTokens: (owner: string) => number
  readonly entitlements: Entitlements
  readonly config: ServicesConfig
}

/** What a token write comes to. Store `record`, unless it is a no-op, only if `existing` is still what is stored. */
export interface TokenPostDecision {
  readonly kind: 'created' | 'updated' | 'no-op'
  readonly record: TokenRecord
  readonly etag: string
  readonly message: string
  /** Value of `x-waiter-operation-result`. */
  readonly operationResult: 'token-created' | 'token-updated' | 'token-no-op'
  /** The answer's body. */
  readonly body: { readonly message: string; readonly 'service-description': ServiceDescription }
}

/** Decides a `POST /token` in the order of spec §3.3: mode, keys, validation, authorization, version, no-op. */
export function decideTokenPost(input: TokenPostInput): Result<TokenPostDecision, TokenError> {
  const { updateMode, config } = input
  if (updateMode !== undefined && updateMode !== 'admin') {
    return err(tokenError(400, 'Invalid update-mode', { 'update-mode': updateMode.slice(0, 64), supported: ['admin'] }))
  }
  const isAdminMode = updateMode === 'admin'
  const keyProblem = findKeyProblem(input, isAdminMode)
  if (keyProblem !== undefined) return err(keyProblem)
  const system = readSystemMetadata(isAdminMode ? input.body : {}, config.token.historyLengthMax)
  if (!system.ok) return system
  const isDeletion = system.value.deleted === true
  const validated = isDeletion ? ok(withoutInvalid(input.body, config)) : validateTokenBody(input.body, config)
  if (!validated.ok) return validated
  const live = input.existing?.deleted === true ? undefined : input.existing
  const owner = chooseOwner(validated.value, live, input.requester)
  const edited: JsonObject = { ...validated.value, owner }
  const refusal = authorizeTokenPost({ ...input, live, edited, owner, isAdminMode })
  if (refusal !== undefined) return err(refusal)
  const stale = findStale(input)
  if (stale !== undefined) return err(stale)
  const cluster = chooseCluster(input)
  if (!isAdminMode && live !== undefined && live.cluster === cluster && isSame(live, edited)) {
    return ok(describe('no-op', live, input.token))
  }
  const previous =
    system.value.previous ?? (isAdminMode && Object.hasOwn(input.body, 'previous') ? undefined : input.existing)
  const history = truncateHistory(previous, config.token.historyLengthMax)
  const record = {
    ...edited,
    cluster,
    'last-update-time': input.nowMs,
    'last-update-user': input.requester,
    root: input.existing?.root ?? config.clusterName,
    ...system.value,
    ...(history === undefined ? {} : { previous: history }),
  } as TokenRecord
  return ok(describe(live === undefined ? 'created' : 'updated', record, input.token))
}

function findKeyProblem(input: TokenPostInput, isAdminMode: boolean): TokenError | undefined {
  const { body, token, existing } = input
  const editable = editableKeys()
  const keys = Object.keys(body).filter(key => key !== 'token')
  const unsupported = keys.filter(key => !editable.includes(key) && !SYSTEM_METADATA.some(name => name === key))
  if (unsupported.length > 0) {
    const shown = unsupported.slice(0, 10).map(key => JSON.stringify(key.slice(0, 64)))
    return tokenError(400, `Unsupported key(s) in token: [${shown.join(', ')}]`, { token })
  }
  const needsParameters = existing?.deleted === true && !isAdminMode
  const isEmpty = needsParameters
    ? Object.keys(pickParameters(body as ServiceDescription)).length === 0
    : !keys.some(key => editable.includes(key))
  if (isEmpty) return tokenError(400, `No parameters provided for ${token}`, { token })
  // `cluster` is always computed from the request; an echo of what GET showed does no harm.
  const system = isAdminMode ? undefined : SYSTEM_METADATA.find(name => name !== 'cluster' && Object.hasOwn(body, name))
  return system === undefined ? undefined : tokenError(400, `Cannot modify ${system} token metadata`, { token })
}

/** A deletion copied by an administrator is not validated; whatever is not valid of it is left out of the record. */
function withoutInvalid(body: JsonObject, config: ServicesConfig): JsonObject {
  const validated = validateTokenBody(body, config)
  if (validated.ok) return validated.value
  const kept: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(pickPlain(body))) {
    if (validateTokenBody({ [key]: value }, config).ok) kept[key] = value
  }
  return pickEditable(kept)
}

function pickPlain(body: JsonObject): JsonObject {
  const picked: Record<string, unknown> = {}
  for (const key of editableKeys()) {
    const value = ownValue(body, key)
    if (value !== undefined) picked[key] = value
  }
  return picked
}

function chooseOwner(edited: JsonObject, live: TokenRecord | undefined, requester: string): string {
  const said = edited.owner
  return typeof said === 'string' ? said : (live?.owner ?? requester)
}

function chooseCluster({ host, config }: TokenPostInput): string {
  const name = (host ?? '').trim().replace(/:\d*$/, '').toLowerCase()
  const byHost = config.token.clusterByHost
  return Object.hasOwn(byHost, name) ? byHost[name]! : config.clusterName
}

function findStale({ existing, ifMatch, token }: TokenPostInput): TokenError | undefined {
  if (ifMatch === undefined) return undefined
  // The original's command line says so that it has seen no such token.
  if (ifMatch.trim() === '' && (existing === undefined || existing.deleted === true)) return undefined
  const etag = existing === undefined ? undefined : tokenEtag(existing)
  if (etag !== undefined && matchesEtag(ifMatch, etag)) return undefined
  return tokenError(412, 'Cannot modify stale token', {
    'provided-version': ifMatch.slice(0, 128),
    'existing-version': etag ?? null,
    token,
  })
}

function isSame(live: TokenRecord, edited: JsonObject): boolean {
  return canonicalJson(pickEditable(live as unknown as JsonObject)) === canonicalJson(edited)
}

function describe(kind: TokenPostDecision['kind'], record: TokenRecord, token: string): TokenPostDecision {
  const message = kind === 'no-op' ? `No changes detected for ${token}` : `Successfully ${kind} ${token}`
  return {
    kind,
    record,
    etag: tokenEtag(record),
    message,
    operationResult: `token-${kind}`,
    body: { message, 'service-description': pickParameters(record) },
  }
}
