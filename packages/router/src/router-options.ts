import type { Logger } from '@waiter/base'
import type { SiblingMeasures, SlotExchange } from '@waiter/control'
import type { ProxyServer, ProxyServerOptions, UpstreamTls } from '@waiter/proxy'
import type { Entitlements, ServicesConfig } from '@waiter/services'
import type { EjectionConfig, FindService } from '@waiter/slots'
import type { KeyValueStore } from '@waiter/store'
import type { AccessLog } from './access-log/access-log.ts'
import type { ClusterLink } from './api/cluster-routes.ts'
import type { AuthenticationSettings } from './auth/create-authentication.ts'
import type { Messages } from './errors/messages.ts'
import type { SupportInfo } from './errors/support-info.ts'
import type { RouterGossipSettings } from './gossip/router-gossip.ts'
import type { CorsSettings } from './request/cors-gate.ts'

/** What a router is made of; the composition root fills it in. */
export interface RouterOptions {
  readonly routerId: string
  readonly nodeId: string
  /** Which worker of its node, from 1; absent: the only one. */
  readonly worker?: number | undefined
  /** Asks the other workers of its node what they measured; absent: there are none. */
  readonly measureSiblings?: (() => Promise<SiblingMeasures>) | undefined
  readonly services: ServicesConfig
  readonly entitlements: Entitlements
  readonly authentication: AuthenticationSettings
  readonly cors: CorsSettings
  /** How long a consent lasts (spec §1.10). */
  readonly consentMaxAgeSecs: number
  /** Addresses and networks of proxies in front of Waiter that say how clients came (`x-forwarded-proto`). */
  readonly trustedProxies: readonly string[]
  /** Where this router itself serves https, if it does. */
  readonly httpsPort?: () => number | undefined
  readonly store: KeyValueStore
  /** The control nodes, for `/cluster/members`. */
  readonly cluster?: ClusterLink
  /** Absent: it neither lends slots to other routers nor borrows theirs. */
  readonly createSlotExchange?: (find: FindService) => SlotExchange
  /** Absent: it does not gossip. */
  readonly gossip?: RouterGossipSettings | undefined
  readonly createProxyServer: (options: ProxyServerOptions) => ProxyServer
  readonly renderHeader: (name: string, value: string) => string
  readonly ejection: EjectionConfig
  /** One line per request; undefined when it is switched off. The router closes it. */
  readonly accessLog?: AccessLog | undefined
  readonly connectTimeoutMs: number
  readonly clientIdleTimeoutMs: number
  /** How instances are spoken to over TLS. */
  readonly upstreamTls?: UpstreamTls | undefined
  readonly handshakeTimeoutMs: number
  readonly handshakesMax: number
  readonly webSocketAgeMsMax: number
  /** Password of user `waiter` towards instances of a service. */
  readonly passwordFor: (serviceId: string) => string
  /** Sentences to say instead of Waiter's own. */
  readonly messages: Messages
  readonly supportInfo: readonly SupportInfo[]
  /** State of the certificates for `/state/tls`; absent without TLS. */
  readonly tlsState?: (() => unknown) | undefined
  /** What somebody should see to, in sentences, for `/status`. */
  readonly warnings: () => readonly string[]
  /** Effective configuration for `/settings`, secrets already hidden. */
  readonly settings: Readonly<Record<string, unknown>>
  readonly version: string
  /** Finishes what runs and ends the process; its node starts a fresh one (`POST /drain` with `crash=true`). */
  readonly endProcess?: () => void
  /** It drains, or not any more. */
  readonly onDrain?: (drains: boolean) => void
  readonly log: Logger
}
