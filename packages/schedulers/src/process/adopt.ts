import { statSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ServiceId } from '@waiter/base'
import type { InstanceRecord } from '../scheduler.ts'
import { Instance, type InstanceContext } from './instance.ts'
import { readStderrTail } from './log-files.ts'
import { isAlive } from './process-table.ts'
import { findMembers, type ProcessTree, processKey, stopTree } from './process-tree.ts'
import { applyEnded, createServiceState, type ServiceState } from './service-state.ts'
import type { StoredInstance } from './state-files.ts'

/** Orphans are given so long to die of SIGKILL before the start goes on without them. */
const ORPHAN_KILL_MS_MAX = 5000
/** Looked through before the event loop gets a turn: about 2 ms of work. */
const SERVICES_PER_TURN_MAX = 25

/** What an earlier Waiter left behind, taken over. */
export interface Adoption {
  readonly services: Map<ServiceId, ServiceState>
  readonly adopted: readonly Instance[]
}

/**
 * Takes over what an earlier Waiter left in the data directory: running instances go on running, ended ones are
 * recorded, and processes that no file accounts for are killed. Nothing unreadable stops it.
 */
export async function adoptServices(context: InstanceContext): Promise<Adoption> {
  const services = new Map<ServiceId, ServiceState>()
  const adopted: Instance[] = []
  for (const id of context.files.listServiceIds()) {
    const stored = context.files.readService(id)
    const isKnown = stored !== null && stored.definition.id === id
    const service = isKnown ? createServiceState(stored.definition, stored.requested, context.timers.nowMs()) : null
    if (service !== null) services.set(id, service)
    for (const instance of context.files.readInstances(id)) {
      const taken = service === null ? null : adoptInstance(context, service, instance)
      if (taken !== null) adopted.push(taken)
    }
  }
  await killOrphans(context, adopted)
  return { services, adopted }
}

function adoptInstance(context: InstanceContext, service: ServiceState, stored: StoredInstance): Instance | null {
  const { pid, startTicks, record } = stored
  const ports = [record.port, ...record.extraPorts]
  if (stored.hasEnded) {
    recordEnded(context, service, record)
    return null
  }
  const isRunning = pid !== null && startTicks !== null && stored.bootId === context.bootId && isAlive(pid, startTicks)
  if (!isRunning) {
    const ended = describeLost(context, stored)
    context.files.writeInstance({ ...stored, hasEnded: true, record: ended })
    recordEnded(context, service, ended)
    return null
  }
  context.ports.adopt(ports)
  const sandbox = context.files.sandbox(record.serviceId, record.instanceId)
  const { definition } = service
  const instance = new Instance(context, { definition, record, sandbox, pid, startTicks, child: null, streak: 0 })
  service.running.set(record.instanceId, instance)
  return instance
}

function recordEnded(context: InstanceContext, service: ServiceState, record: InstanceRecord): void {
  if (record.healthyAtMs !== null) context.ports.release([record.port, ...record.extraPorts], record.endedAtMs ?? 0)
  for (const dropped of applyEnded(service, record)) {
    context.files.removeInstance(dropped.serviceId, dropped.instanceId)
  }
}

/** An instance whose end nobody saw. */
function describeLost(context: InstanceContext, stored: StoredInstance): InstanceRecord {
  const sandbox = context.files.sandbox(stored.record.serviceId, stored.record.instanceId)
  const isIntent = stored.pid === null
  return {
    ...stored.record,
    state: isIntent ? 'killed' : 'failed',
    endedAtMs: context.timers.nowMs(),
    message: isIntent
      ? 'Waiter stopped while starting it'
      : stored.bootId === context.bootId
        ? 'Ended while Waiter was not running'
        : 'Ended when the machine was restarted',
    stderrTail: isIntent ? '' : readStderrTail(sandbox),
  }
}

/** Kills every process whose environment names a working directory of ours that no adopted instance has. */
async function killOrphans(context: InstanceContext, adopted: readonly Instance[]): Promise<void> {
  const prefix = `${context.files.instancesDir}/`
  const snapshot = await context.table.scan()
  const owned = new Set<string>()
  for (const entries of findMembers(
    snapshot,
    adopted.map(instance => instance.tree),
  ).values()) {
    for (const entry of entries) owned.add(processKey(entry))
  }
  const known = new Set(adopted.map(instance => instance.tree.sandbox))
  const trees = new Map<string, ProcessTree>()
  for (const entry of snapshot.values()) {
    const { sandbox } = entry
    if (sandbox === null || !sandbox.startsWith(prefix) || known.has(sandbox) || owned.has(processKey(entry))) continue
    if (entry.isZombie || entry.pid === process.pid) continue
    context.log.warn({ pid: entry.pid, sandbox }, 'killing a process that no instance file accounts for')
    trees.set(sandbox, { pid: null, startTicks: null, sandbox, known: new Set() })
  }
  if (trees.size === 0) return
  const giveUpAtMs = performance.now() + ORPHAN_KILL_MS_MAX
  const deps = {
    table: context.table,
    timers: context.timers,
    log: context.log,
    exited: new Promise(() => undefined),
    isClosed: () => performance.now() > giveUpAtMs,
  }
  const results = await Promise.all([...trees.values()].map(tree => stopTree(tree, 0, deps)))
  if (results.includes(false)) context.log.error({}, 'some orphaned processes survive SIGKILL')
}

/** Removes working directories that nobody knows any more and that were last touched before `beforeMs`. */
export async function removeForgottenDirectories(
  context: InstanceContext,
  services: ReadonlyMap<ServiceId, ServiceState>,
  beforeMs: number,
): Promise<void> {
  for (const [count, serviceId] of context.files.listServiceIds().entries()) {
    if (count > 0 && count % SERVICES_PER_TURN_MAX === 0) await nextTurn()
    if (context.isClosed()) return
    const service = services.get(serviceId)
    const known = new Set([...(service?.running.keys() ?? []), ...(service?.ended ?? []).map(r => r.instanceId)])
    for (const instanceId of context.files.listSandboxes(serviceId)) {
      if (known.has(instanceId) || (service?.pending ?? 0) > 0) continue
      const { mtimeMs } = statSync(context.files.sandbox(serviceId, instanceId))
      if (mtimeMs < beforeMs) context.files.removeInstance(serviceId, instanceId)
    }
    if (service === undefined) context.files.removeServiceDirIfEmpty(serviceId)
  }
}
