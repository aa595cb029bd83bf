import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, closeSync, mkdirSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ServiceDefinition } from '@waiter/services'
import { schedulerError } from '../errors.ts'
import type { InstanceRecord } from '../scheduler.ts'
import { Instance, type InstanceContext, readStartTicks } from './instance.ts'
import { OUTPUT_NAMES, openOutput } from './log-files.ts'
import { computeEnvironment, type InstanceSeat, type ResolvedProcessOptions } from './process-options.ts'
import { findUserIdentity, type UserIdentity } from './run-as-user.ts'

/** Instances pretend to run on ten hosts, so that "fails on distinct hosts" rules can be met on one machine. */
const LOOPBACK_HOSTS = 10
/** Enough that two instances of one millisecond never share an id. */
const ID_CHANCE = 36 ** 6

/** What a launch needs. */
export interface Launch {
  readonly context: InstanceContext
  readonly options: ResolvedProcessOptions
  readonly definition: ServiceDefinition
  readonly streak: number
  /** Asked right before the spawn: the wish may have gone while a port was sought. */
  isStillWanted(): boolean
}

/**
 * Starts one process: ports, private directory, intent on disk, spawn, facts on disk, in this order, so that a crash
 * at any point leaves nothing running that cannot be found again. Null when it was not wanted any more.
 *
 * @throws WaiterError `WTR_NO_FREE_PORT` or `WTR_START_FAILED`, both retryable; nothing runs then
 */
export async function launchInstance(launch: Launch): Promise<Instance | null> {
  const { context, definition } = launch
  const ports = await context.ports.reserve(definition.effective.ports)
  // Spawning takes milliseconds of this thread: in a burst of starts, probes and signals get their turns in between.
  await nextTurn()
  if (!launch.isStillWanted()) {
    context.ports.releaseUnused(ports)
    return null
  }
  const seat = chooseSeat(launch, ports)
  try {
    return await spawnInstance(launch, seat)
  } catch (cause) {
    context.ports.releaseUnused(ports)
    context.files.removeInstance(definition.id, seat.instanceId)
    throw schedulerError(
      'WTR_START_FAILED',
      `Could not start an instance of ${definition.id}: ${(cause as NodeJS.ErrnoException).code ?? 'unexpected error'}. ` +
        'Look at free space, rights and process limits of this machine.',
      cause,
    )
  }
}

function chooseSeat(launch: Launch, ports: readonly number[]): InstanceSeat {
  const { context, options, definition } = launch
  const { prng, timers } = options
  const unique = `${Math.floor(timers.nowMs()).toString(36)}-${prng.below(ID_CHANCE).toString(36).padStart(6, '0')}`
  const instanceId = `${definition.id}.${unique}`
  return {
    instanceId,
    host: options.network?.advertise ?? `127.0.0.${1 + prng.below(LOOPBACK_HOSTS)}`,
    ports,
    directory: context.files.sandbox(definition.id, instanceId),
    password: options.passwordFor(definition.id),
  }
}

async function spawnInstance(launch: Launch, seat: InstanceSeat): Promise<Instance> {
  const { context, definition, streak } = launch
  const identity = findUserIdentity(definition.effective['run-as-user'])
  mkdirSync(seat.directory, { mode: 0o700 }) // fails if it exists: an id is never used twice
  if (identity !== null) chownSync(seat.directory, identity.uid, identity.gid)
  const before = createRecord(launch, seat)
  const stored = { format: 1, bootId: context.bootId, definition, hasEnded: false } as const
  context.files.writeInstance({ ...stored, pid: null, startTicks: null, record: before })
  const spawnedAtMs = launch.options.timers.nowMs()
  const child = spawnShell(launch, seat, identity)
  const { pid } = child
  if (pid === undefined) {
    const [cause] = await once(child, 'error')
    throw cause
  }
  child.on('error', cause => context.log.warn({ pid, cause: String(cause) }, 'child process reported an error'))
  // Our child cannot be reaped before the event loop turns, so its entry is there even if it has ended already.
  const startTicks = readStartTicks(pid) ?? 0
  const record: InstanceRecord = {
    ...before,
    extra: { ...before.extra, 'shell-scheduler/pid': pid, 'spawned-at-ms': spawnedAtMs },
  }
  const instance = new Instance(context, {
    definition,
    record,
    sandbox: seat.directory,
    pid,
    startTicks,
    child,
    streak,
  })
  try {
    context.files.writeInstance({ ...stored, pid, startTicks, record })
  } catch (cause) {
    // Goes on: the intent is on disk, so that the next start finds the process by its environment.
    context.log.error({ instanceId: seat.instanceId, cause: String(cause) }, 'cannot write instance file')
  }
  return instance
}

function spawnShell(launch: Launch, seat: InstanceSeat, identity: UserIdentity | null): ChildProcess {
  const { options, definition } = launch
  const outputs: number[] = []
  try {
    for (const name of OUTPUT_NAMES) outputs.push(openOutput(seat.directory, name, identity))
    return spawn(options.shell, ['-c', definition.effective.cmd], {
      cwd: seat.directory,
      detached: true, // its own session and group: signals reach all of it, and it outlives Waiter
      env: computeEnvironment(options, definition, seat),
      stdio: ['ignore', ...outputs],
      ...(identity === null ? {} : identity),
    })
  } finally {
    for (const file of outputs) closeSync(file)
  }
}

function createRecord(launch: Launch, seat: InstanceSeat): InstanceRecord {
  const [port = 0, ...extraPorts] = seat.ports
  return {
    serviceId: launch.definition.id,
    instanceId: seat.instanceId,
    state: 'starting',
    host: seat.host,
    port,
    extraPorts,
    startedAtMs: launch.options.timers.nowMs(),
    healthyAtMs: null,
    endedAtMs: null,
    flags: [],
    exitCode: null,
    healthCheckStatus: null,
    message: null,
    stderrTail: '',
    logDirectory: seat.directory,
    extra: { 'shell-scheduler/working-directory': seat.directory },
  }
}
