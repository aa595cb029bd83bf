import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '@waiter/base'
import type { Settings } from './config/schema.ts'
import type { ControlGroup } from './control-group.ts'
import type { RouterWorkers } from './router-workers.ts'

export interface DepartureParts {
  readonly routers: readonly { readonly workers: RouterWorkers }[]
  readonly controls: ControlGroup
  readonly settings: Settings
  readonly log: Logger
}

/** How long this host may take to be left before it stops; 0: there is nobody to leave it to. */
export function moveMsOf({ controls, settings }: Pick<DepartureParts, 'controls' | 'settings'>): number {
  const isOneOfSeveral = controls.hasOthers && !controls.isEmpty
  return isOneOfSeveral ? settings['scheduler-config'].hosts['move-timeout-ms'] : 0
}

/**
 * Before a host stops: load balancers are told, and what it runs is started on others, then stopped here, as its requests
 * end. Resolves when that is done or has taken too long; everything is served until then.
 */
export async function depart({ routers, controls, settings, log }: DepartureParts): Promise<void> {
  const noticeMs = settings['shutdown-notice-ms']
  const moveMs = moveMsOf({ controls, settings })
  // One that has left has told already, and runs nothing.
  if (routers.length === 0 || noticeMs + moveMs === 0) return
  for (const { workers } of routers) workers.send({ kind: 'drain', drains: true })
  const moved = moveMs === 0 ? undefined : controls.depart(moveMs)
  const [why] = await Promise.all([moved, delay(noticeMs)])
  if (why === 'too-late')
    log.warn(
      { moveMs },
      'not everything has been started on other hosts in time (scheduler-config.hosts.move-timeout-ms); what still runs is stopped',
    )
}
