/**
 * Everything that can be known about services and tokens without asking anybody: what a description may say, which
 * service a request means, what a token write changes, and why something is refused.
 *
 * Contract: pure functions over plain data with wire (kebab-case) names. Time, users, stored tokens and configuration
 * come in as parameters; refusals go out as `Result` errors whose messages are written for users. Input that came from
 * outside is `unknown` or a header until it has been validated here, and nowhere else. Nothing here stores, logs, waits
 * or authenticates, and nothing decides which instance answers.
 *
 * Reading order: `parameters`, `validate-description`, `effective-description`, `service-id`; then
 * `discover-service` → `resolve-descriptor` → `authorize-request` for a request, and `token-body` → `token-post` for a
 * token write. The rules are numbered in SPEC.md.
 */
export {
  type AuthCookie,
  type AuthCookieContent,
  findCookie,
  readAuthCookie,
  userOf,
  writeAuthCookie,
} from './auth-cookie.ts'
export { authorizeRequest } from './authorize-request.ts'
export { isBypassService } from './bypass.ts'
export { type ChooseVersionInput, chooseVersion, type VersionChoice, type VersionState } from './choose-version.ts'
export {
  createServicesConfig,
  type MetricGroupMapping,
  type Profile,
  type ServiceDefaults,
  type ServicesConfig,
  type TokenConfig,
  type TokenDefaults,
} from './config.ts'
export {
  type ConsentContent,
  type ConsentGrant,
  type ConsentPost,
  findConsentProblem,
  isConsentGiven,
  readConsent,
  writeConsent,
} from './consent.ts'
export {
  type CorsPolicy,
  type CorsRequest,
  type CorsVerdict,
  isSameOrigin,
  judgeCors,
  preflightHeaders,
} from './cors.ts'
export type { BackendProto, EffectiveDescription, ServiceDefinition, ServiceDescription } from './description.ts'
export type {
  Descriptor,
  DescriptorError,
  DiscoveredToken,
  Discovery,
  Maintenance,
  TokenTimeouts,
} from './descriptor.ts'
export { type DiscoveryInput, discoverService, hostToken, RAW_SERVICE_ID_PREFIX } from './discover-service.ts'
export { computeEffectiveDescription, inferMetricGroup, type ServiceOverrides } from './effective-description.ts'
export { type FormerVersion, formerVersions, latestUpdateMs } from './former-versions.ts'
export { computeHealthCheckTarget, type HealthCheckTarget } from './health-check-target.ts'
export { redirectToHttps } from './https-redirect.ts'
export {
  computeInstanceEnvironment,
  type InstanceEnvironmentInput,
} from './instance-environment.ts'
export {
  type InterstitialQuery,
  readInterstitialQuery,
  wantsInterstitial,
  withBypass,
} from './interstitial.ts'
export { formatIsoTime, parseIsoTime } from './iso-time.ts'
export { type JsonLimits, type JsonObject, parseLimitedJson } from './json.ts'
export {
  DEFAULT_JUDGE,
  type JudgeConfig,
  type JudgeInput,
  judgeVersion,
  lingeringAfterMs,
  type TrafficFigures,
  type VersionVerdict,
} from './judge-version.ts'
export { decideKeepAlive, type KeepAliveDecision } from './keep-alive.ts'
export { LATENCY_BUCKETS, latencyBucket } from './latency-histogram.ts'
export { type OverridesInput, type OverridesRecord, validateOverrides } from './overrides.ts'
export { findParameter, PARAMETERS, type ParameterName, type ParameterRule } from './parameters.ts'
export { compilePattern, type Pattern } from './pattern.ts'
export {
  computeStaleness,
  renderReference,
  type ServiceReference,
  type Staleness,
  type StalenessInput,
} from './references.ts'
export {
  computeRequestTimeouts,
  DEFAULT_REQUEST_TIMEOUT_LIMITS,
  parseGrpcTimeout,
  renderGrpcTimeout,
  type RequestTimeoutLimits,
  type RequestTimeouts,
  type RequestTimeoutsInput,
} from './request-timeouts.ts'
export { isExclusive, type ResolveInput, resolveDescriptor, resolveDiscovery } from './resolve-descriptor.ts'
export { computeServiceId } from './service-id.ts'
export { STORE_PREFIXES } from './store-keys.ts'
export type { SuspensionRecord } from './suspension.ts'
export {
  type CorsRule,
  createSimpleEntitlements,
  type Entitlements,
  type PreviousToken,
  type ServiceMapping,
  type SourceToken,
  type TokenError,
  type TokenRecord,
  type TokenSystemMetadata,
  type TokenUserMetadata,
} from './token.ts'
export { ADMIN_TOKEN_BODY_LIMITS, parseTokenBody, TOKEN_BODY_LIMITS } from './token-body.ts'
export { decideTokenDelete, type TokenDeleteDecision, type TokenDeleteInput } from './token-delete.ts'
export { matchesEtag, tokenEtag, tokenVersion } from './token-etag.ts'
export { renderTokenHistory, TOKEN_HISTORY_LENGTH_DEFAULT, type TokenHistoryEntry } from './token-history.ts'
export { findTokenKeyProblems, type TokenKeyProblem } from './token-keys.ts'
export {
  parseTokenListingQuery,
  renderTokenEntry,
  renderTokenListing,
  type TokenListingContext,
  type TokenListingEntry,
  type TokenListingQuery,
} from './token-listing.ts'
export { computeTokenMetadata, type EffectiveTokenMetadata } from './token-metadata.ts'
export {
  checkTokenName,
  chooseTokenName,
  chooseTokenNameForPost,
  chooseTokenNameForRead,
  type TokenNameSources,
} from './token-name.ts'
export { decideTokenPost, type TokenPostDecision, type TokenPostInput } from './token-post.ts'
export { readToken, renderToken, type TokenInclude } from './token-render.ts'
export {
  bucketOf,
  bucketOfCount,
  isForNewest,
  readSplitCookie,
  SPLIT_BUCKETS,
  SPLIT_COOKIE_PREFIX,
  splitCookieName,
  type TrafficSplit,
} from './traffic-split.ts'
export { validateServicesConfig } from './validate-config.ts'
export {
  type DescriptionProblem,
  type DescriptionProblems,
  findMissingRequired,
  type ValidationOptions,
  validateDescription,
} from './validate-description.ts'
export {
  isCacheableSelection,
  isDescriptionHeader,
  isWaiterHeaderName,
  type SplitHeaders,
  splitWaiterHeaders,
  WAITER_HEADER_PREFIX,
  type WaiterHeaders,
} from './waiter-headers.ts'
export {
  addWithdrawal,
  type FindWithdrawals,
  findWithdrawal,
  pruneWithdrawals,
  type Withdrawal,
  type WithdrawalCode,
  type WithdrawalRecord,
} from './withdrawal.ts'
