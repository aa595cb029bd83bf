/**
 * What a configuration is checked with, apart from the router itself: the launcher reads configurations, and need not load
 * what serves requests.
 */
export { findAddressProblem } from './auth/address-list.ts'
export { findEndpointProblem } from './auth/web-token/find-endpoint-problem.ts'
export { MESSAGE_KEYS } from './errors/messages.ts'
export { SUPPORT_FIELDS } from './errors/support-info.ts'
