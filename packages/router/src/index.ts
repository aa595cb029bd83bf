/**
 * A router: finds the service that a request names, gets it a slot, has it forwarded, and answers Waiter's own API.
 *
 * Reading order: `router` (what it is made of) → `pipeline` (what happens to a request) → `request/proxied-request`
 * (its way through a slot) → `services/` (what this router knows of services) → `api/` → `access-log/`. Stateless: everything here can
 * be had again from the leader and the store; without a leader it goes on with what it was assigned last.
 */
export { AccessLog } from './access-log/access-log.ts'
export { LogFile } from './access-log/log-file.ts'
export type { IdentityProviderSettings } from './auth/identity-provider.ts'
export type { AuthenticationSettings, AuthenticatorSpec } from './auth/create-authentication.ts'
export type { GossipMember, MemberChange } from './gossip/gossip-member.ts'
export type { RouterGossip, RouterGossipSettings } from './gossip/router-gossip.ts'
export type { CorsSettings } from './request/cors-gate.ts'
export { type Router, startRouter } from './router.ts'
export type { RouterOptions } from './router-options.ts'
