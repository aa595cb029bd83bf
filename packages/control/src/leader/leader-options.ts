import type { Logger, Term } from '@waiter/base'
import type { ScalingPolicy } from '@waiter/scaling'
import type { Scheduler } from '@waiter/schedulers'
import type { ServicesConfig } from '@waiter/services'
import type { KeyValueStore } from '@waiter/store'
import type { LeaderClock, LeaderSettings } from './leader-settings.ts'

/** What a leader works with. */
export interface LeaderOptions {
  readonly leaderId: string
  readonly term: Term
  /** Changes when all routers of the cluster have ended together, and none needs to be waited for. Default: never. */
  readonly startId?: string
  readonly scheduler: Scheduler
  readonly store: KeyValueStore
  readonly services: ServicesConfig
  readonly policy: ScalingPolicy
  readonly settings: LeaderSettings
  readonly clock: LeaderClock
  readonly log: Logger
}
