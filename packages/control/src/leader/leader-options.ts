import type { Logger, Term } from '@waiter/base'
import type { ScalingPolicy } from '@waiter/scaling'
import type { Scheduler } from '@waiter/schedulers'
import type { ServicesConfig } from '@waiter/services'
import type { KeyValueStore } from '@waiter/store'
import type { LeaderClock } from '../clock.ts'
import type { LeaderSettings } from './leader-settings.ts'
import type { HostStart } from './router-registry.ts'

/** What a leader works with. */
export interface LeaderOptions {
  readonly leaderId: string
  readonly term: Term
  /** This host. Another start of it: all its routers have ended, and none needs to be waited for. */
  readonly host?: HostStart
  readonly scheduler: Scheduler
  readonly store: KeyValueStore
  readonly services: ServicesConfig
  readonly policy: ScalingPolicy
  readonly settings: LeaderSettings
  readonly clock: LeaderClock
  readonly log: Logger
}
