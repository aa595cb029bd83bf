import type { ServiceId } from '@waiter/base'
import { removeForgottenDirectories } from './adopt.ts'
import type { Instance, InstanceContext } from './instance.ts'
import { OUTPUT_NAMES, rotateOutput } from './log-files.ts'
import type { ResolvedProcessOptions } from './process-options.ts'
import type { ProcessEntry } from './process-table.ts'
import { findMembers } from './process-tree.ts'
import type { ServiceState } from './service-state.ts'
import type { Timer } from './timers.ts'

/** The sizes of output files are looked at so many times less often than memory. */
const ROTATION_CHECK_RARITY = 5
/** And forgotten directories are looked for so many times less often. */
const SWEEP_RARITY = 600
/**
 * What the rounds of one kind may take of a core. With hundreds of processes they become rarer: a look at a thousand takes
 * 20 ms, and comes every 20 s.
 */
const ROUND_SHARE_MAX = 0.001
/** That an adopted process has ended, nobody else tells. */
const GONE_SHARE_MAX = 0.0025
/** And no rarer than this. */
const ROUND_INTERVAL_MS_MAX = 30_000
const MICROSECONDS_PER_MS = 1_000
const BYTES_PER_MIB = 1024 * 1024
/** What Node's timers can count. */
const TIMER_MS_MAX = 2 ** 31 - 1

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
  const outputs = new OutputWatch()
  const asOwner = (round: () => Promise<void>) => async (): Promise<void> => {
    if (patrol.isOwner()) await round()
  }
  const rounds = [
    repeat(
      patrol,
      memoryCheckIntervalMs,
      asOwner(() => checkProcesses(patrol, outputs)),
    ),
    repeat(
      patrol,
      memoryCheckIntervalMs * ROTATION_CHECK_RARITY,
      asOwner(() => rotateOutputs(patrol, outputs)),
    ),
    repeat(
      patrol,
      memoryCheckIntervalMs * SWEEP_RARITY,
      asOwner(() => sweep(patrol)),
    ),
    repeat(
      patrol,
      adoptedPollIntervalMs,
      async () => {
        // Several times a second: without a list of them all.
        for (const { running } of patrol.services().values())
          for (const instance of running.values()) instance.checkGone()
      },
      GONE_SHARE_MAX,
    ),
  ]
  return {
    cancel: () => {
      for (const round of rounds) round.cancel()
    },
  }
}

/**
 * Runs `round` again and again, `intervalMs` after the end of the one before, later if it takes long; a failed round is
 * logged.
 */
function repeat(
  patrol: PatrolOptions,
  intervalMs: number,
  round: () => Promise<void>,
  shareMax: number = ROUND_SHARE_MAX,
): Timer {
  const { timers, log } = patrol.context
  let isCancelled = false
  let timer: Timer | undefined
  const schedule = (delayMs: number): void => {
    if (isCancelled) return
    timer = timers.setTimer(Math.min(delayMs, TIMER_MS_MAX), () => {
      // CPU time: on a busy machine a round takes longer by the clock, and costs no more.
      const before = process.cpuUsage()
      round()
        .catch(cause => log.error({ cause: String(cause) }, 'a patrol round failed; the next one tries again'))
        .finally(() => schedule(chooseDelayMs(intervalMs, process.cpuUsage(before), shareMax)))
    })
  }
  schedule(intervalMs)
  return {
    cancel: () => {
      isCancelled = true
      timer?.cancel()
    },
  }
}

function chooseDelayMs(intervalMs: number, cost: NodeJS.CpuUsage, shareMax: number): number {
  const tookMs = (cost.user + cost.system) / MICROSECONDS_PER_MS
  return Math.max(intervalMs, Math.min(tookMs / shareMax, ROUND_INTERVAL_MS_MAX))
}

/** Which instances may have written something: one that used no CPU time since the last look has not. */
class OutputWatch {
  readonly #used = new WeakMap<Instance, { now: string; atLook: string }>()

  /** Takes in what the processes of an instance have used. */
  note(instance: Instance, entries: readonly ProcessEntry[]): void {
    let ticks = 0
    for (const entry of entries) ticks += entry.cpuTicks
    const now = `${entries.length} ${ticks}`
    const used = this.#used.get(instance)
    if (used === undefined) this.#used.set(instance, { now, atLook: '' })
    else used.now = now
  }

  /** True when it has worked since this was asked last. */
  hasWorked(instance: Instance): boolean {
    const used = this.#used.get(instance)
    if (used === undefined) return true
    const hasWorked = used.now !== used.atLook
    used.atLook = used.now
    return hasWorked
  }
}

async function checkProcesses(patrol: PatrolOptions, outputs: OutputWatch): Promise<void> {
  const instances = runningInstances(patrol)
  if (instances.length === 0) return
  const snapshot = await patrol.context.table.scan()
  const members = findMembers(
    snapshot,
    instances.map(instance => instance.tree),
  )
  for (const instance of instances) {
    instance.checkAlive(snapshot.get(instance.setup.pid))
    const entries = members.get(instance.tree) ?? []
    outputs.note(instance, entries)
    let rssBytes = 0
    for (const entry of entries) rssBytes += entry.rssBytes
    if (rssBytes > instance.setup.definition.effective.mem * BYTES_PER_MIB && !patrol.context.isClosed()) {
      instance.violate('memory-limit-exceeded', 'Exceeded allocated memory usage', 0)
    }
  }
}

async function rotateOutputs(patrol: PatrolOptions, outputs: OutputWatch): Promise<void> {
  const { log } = patrol.context
  for (const instance of runningInstances(patrol)) {
    if (!outputs.hasWorked(instance)) continue
    for (const name of OUTPUT_NAMES) {
      await rotateOutput(instance.setup.sandbox, name, patrol.options.outputBytesMax).catch(cause =>
        log.warn({ instanceId: instance.record.instanceId, name, cause: String(cause) }, 'cannot rotate output'),
      )
    }
  }
}

async function sweep(patrol: PatrolOptions): Promise<void> {
  const beforeMs = Date.now() - patrol.options.deletedDirectoryKeepMs
  await removeForgottenDirectories(patrol.context, patrol.services(), beforeMs)
}

function runningInstances(patrol: PatrolOptions): Instance[] {
  return [...patrol.services().values()].flatMap(service => [...service.running.values()])
}
