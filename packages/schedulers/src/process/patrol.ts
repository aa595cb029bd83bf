import type { ServiceId } from '@waiter/base'
import { removeForgottenDirectories } from './adopt.ts'
import type { Instance, InstanceContext } from './instance.ts'
import { OUTPUT_NAMES, rotateOutput } from './log-files.ts'
import type { ResolvedProcessOptions } from './process-options.ts'
import { findMembers } from './process-tree.ts'
import type { ServiceState } from './service-state.ts'
import type { Timer } from './timers.ts'

/** Every so many memory checks the sizes of output files are looked at. */
const ROTATION_CHECK_ROUNDS = 5
/** Every so many memory checks forgotten directories are looked for. */
const SWEEP_ROUNDS = 60
const BYTES_PER_MIB = 1024 * 1024

/** What a patrol looks after. */
export interface PatrolOptions {
  readonly context: InstanceContext
  readonly options: ResolvedProcessOptions
  services(): ReadonlyMap<ServiceId, ServiceState>
  /** False when the directory has been taken over; the patrol then ends by being cancelled. */
  isOwner(): boolean
}

/**
 * Starts the regular rounds: memory of all instances from one scan of `/proc`, sizes of output files, old directories,
 * and, more often, whether adopted processes are still alive.
 */
export function startPatrol(patrol: PatrolOptions): Timer {
  const { memoryCheckIntervalMs, adoptedPollIntervalMs } = patrol.options
  let rounds = 0
  const main = repeat(patrol, memoryCheckIntervalMs, async () => {
    if (!patrol.isOwner()) return
    rounds += 1
    await checkMemory(patrol)
    if (rounds % ROTATION_CHECK_ROUNDS === 0) await rotateOutputs(patrol)
    if (rounds % SWEEP_ROUNDS === 0) sweep(patrol)
  })
  const adopted = repeat(patrol, adoptedPollIntervalMs, async () => {
    for (const instance of runningInstances(patrol)) instance.checkAlive()
  })
  return {
    cancel: () => {
      main.cancel()
      adopted.cancel()
    },
  }
}

/** Runs `round` again and again, `intervalMs` after the end of the one before; a failed round is logged. */
function repeat(patrol: PatrolOptions, intervalMs: number, round: () => Promise<void>): Timer {
  const { timers, log } = patrol.context
  let isCancelled = false
  let timer: Timer | undefined
  const schedule = (): void => {
    if (isCancelled) return
    timer = timers.setTimer(intervalMs, () => {
      round()
        .catch(cause => log.error({ cause: String(cause) }, 'a patrol round failed; the next one tries again'))
        .finally(schedule)
    })
  }
  schedule()
  return {
    cancel: () => {
      isCancelled = true
      timer?.cancel()
    },
  }
}

async function checkMemory(patrol: PatrolOptions): Promise<void> {
  const instances = runningInstances(patrol)
  if (instances.length === 0) return
  const snapshot = await patrol.context.table.scan()
  const members = findMembers(
    snapshot,
    instances.map(instance => instance.tree),
  )
  for (const instance of instances) {
    let rssBytes = 0
    for (const entry of members.get(instance.tree) ?? []) rssBytes += entry.rssBytes
    if (rssBytes > instance.setup.definition.effective.mem * BYTES_PER_MIB && !patrol.context.isClosed()) {
      instance.violate('memory-limit-exceeded', 'Exceeded allocated memory usage', 0)
    }
  }
}

async function rotateOutputs(patrol: PatrolOptions): Promise<void> {
  const { log } = patrol.context
  for (const instance of runningInstances(patrol)) {
    for (const name of OUTPUT_NAMES) {
      await rotateOutput(instance.setup.sandbox, name, patrol.options.outputBytesMax).catch(cause =>
        log.warn({ instanceId: instance.record.instanceId, name, cause: String(cause) }, 'cannot rotate output'),
      )
    }
  }
}

function sweep(patrol: PatrolOptions): void {
  const beforeMs = Date.now() - patrol.options.deletedDirectoryKeepMs
  removeForgottenDirectories(patrol.context, patrol.services(), beforeMs)
}

function runningInstances(patrol: PatrolOptions): Instance[] {
  return [...patrol.services().values()].flatMap(service => [...service.running.values()])
}
