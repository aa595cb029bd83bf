import type { ChildProcess } from 'node:child_process'
import type { Logger, Millis } from '@waiter/base'
import type { EffectiveDescription, ServiceDefinition } from '@waiter/services'
import type { InstanceFlag, InstanceRecord } from '../scheduler.ts'
import { HealthMonitor, type HealthReport } from './health-monitor.ts'
import { readStderrTail } from './log-files.ts'
import type { PortPool } from './port-pool.ts'
import { hasProcess, type ProcessEntry, type ProcessTable, readStat } from './process-table.ts'
import { type ProcessTree, stopTree } from './process-tree.ts'
import type { StateFiles } from './state-files.ts'
import type { Timer, Timers } from './timers.ts'

/** What all instances of a scheduler share. */
export interface InstanceContext {
  readonly timers: Timers
  readonly log: Logger
  readonly table: ProcessTable
  readonly ports: PortPool
  readonly files: StateFiles
  readonly bootId: string
  /** Other hosts reach instances there, and only there; undefined: none needs to. */
  readonly advertise: string | undefined
  password(id: string): string
  startingCount(): number
  /** Of all services. */
  runningCount(): number
  /** Chance from 0 up to 1. */
  chance(): number
  /** Nobody has used its service for a while. */
  isResting(instance: Instance): boolean
  /** True when the scheduler has been closed or another has the directory: no more signals, no more writing. */
  isClosed(): boolean
  /** The record changed. */
  onChange(instance: Instance): void
  /** It ends without having been asked to: a replacement may start. */
  onFailure(instance: Instance): void
  /** Nothing of it runs any more. */
  onFinish(instance: Instance): void
}

/** Facts about one run. */
export interface InstanceSetup {
  readonly definition: ServiceDefinition
  readonly record: InstanceRecord
  readonly sandbox: string
  readonly pid: number
  readonly startTicks: number
  /** Null for an adopted process, which is not our child. */
  readonly child: ChildProcess | null
  /** How many failures in a row had happened when it was started. */
  readonly streak: number
}

interface Ending {
  readonly state: 'failed' | 'killed'
  readonly message: string
  readonly flag: InstanceFlag | null
}

interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** One running instance: its process, its health, its end. */
export class Instance {
  setup: InstanceSetup
  readonly tree: ProcessTree
  record: InstanceRecord
  readonly #context: InstanceContext
  readonly #health: HealthMonitor
  readonly #exited = Promise.withResolvers<void>()
  readonly #finished = Promise.withResolvers<void>()
  #exit: Exit | null = null
  #ending: Ending | null = null
  #graceTimer: Timer | undefined

  constructor(context: InstanceContext, setup: InstanceSetup) {
    this.#context = context
    this.setup = setup
    this.record = setup.record
    this.tree = { pid: setup.pid, startTicks: setup.startTicks, sandbox: setup.sandbox, known: new Set() }
    this.#health = this.#createMonitor()
  }

  /** Runs and is meant to go on running. */
  get isActive(): boolean {
    return this.#ending === null
  }

  /** Resolves when nothing of it runs any more. */
  get finished(): Promise<void> {
    return this.#finished.promise
  }

  /** Begins to watch the process; `place` is that of an adopted one among those that are adopted with it. */
  start(place = 0): void {
    this.setup.child?.once('exit', (code, signal) => this.#onExit({ code, signal }))
    if (this.setup.child === null) this.#health.resume(place)
    else this.#health.start()
    this.#startGrace()
  }

  /** Other overrides are in force: health checks follow from now on, a grace period that runs is not changed. */
  redefine(definition: ServiceDefinition): void {
    this.setup = { ...this.setup, definition }
  }

  /** Lets go of the process without touching it; another scheduler object may adopt it. */
  detach(): void {
    this.#health.stop()
    this.#graceTimer?.cancel()
    this.setup.child?.unref()
    this.#finished.resolve()
  }

  /** Stops it on request. Repeated calls wait for the first. */
  kill(reason: string, graceMs: number): Promise<void> {
    if (this.#ending === null) this.#stop({ state: 'killed', message: reason, flag: null }, graceMs)
    return this.finished
  }

  /** Stops it because it broke a rule. */
  violate(flag: InstanceFlag, message: string, graceMs: number): void {
    if (this.#ending !== null || this.#context.isClosed()) return
    this.#stop({ state: 'failed', message, flag }, graceMs)
    this.#context.onFailure(this)
  }

  /** For adopted processes, whose end no event tells: whether its number is free. */
  checkGone(): void {
    if (this.setup.child !== null || this.#exit !== null) return
    if (!hasProcess(this.setup.pid)) this.#onExit({ code: null, signal: null })
  }

  /** The same, for those of which a zombie is left, or whose number another process has got: `entry` has it now. */
  checkAlive(entry: ProcessEntry | undefined): void {
    if (this.setup.child !== null || this.#exit !== null) return
    const isAlive = entry !== undefined && entry.startTicks === this.setup.startTicks && !entry.isZombie
    if (!isAlive) this.#onExit({ code: null, signal: null })
  }

  /** Its service is used again: health checks at the usual distance from now on. */
  noteUse(place: number): void {
    this.#health.wake(place)
  }

  #createMonitor(): HealthMonitor {
    const { effective, id } = this.setup.definition
    const { record } = this
    const effectiveNow = (): EffectiveDescription => this.setup.definition.effective
    const ports = [record.port, ...record.extraPorts]
    return new HealthMonitor(
      {
        get effective() {
          return effectiveNow()
        },
        hosts: this.#probedHosts(),
        port: ports[effective['health-check-port-index']] ?? record.port,
        password: this.#context.password(id),
        startedAtMs: record.startedAtMs,
        timers: this.#context.timers,
        chance: () => this.#context.chance(),
        startingCount: () => this.#context.startingCount(),
        runningCount: () => this.#context.runningCount(),
        isResting: () => this.#context.isResting(this),
        onReport: report => this.#onHealth(report),
      },
      { state: record.state, flags: record.flags },
    )
  }

  /** Where it is looked for. What only this machine could reach would be of no use to routers of others. */
  #probedHosts(): readonly string[] {
    const { advertise } = this.#context
    if (advertise !== undefined) return [advertise]
    return this.record.healthyAtMs === null ? [...new Set([this.record.host, '127.0.0.1', '::1'])] : [this.record.host]
  }

  #startGrace(): void {
    const graceSecs = this.setup.definition.effective['grace-period-secs']
    if (graceSecs === 0 || this.record.healthyAtMs !== null) return
    const { timers } = this.#context
    const remainingMs = this.record.startedAtMs + graceSecs * 1000 - timers.nowMs()
    this.#graceTimer = timers.setTimer(Math.max(0, remainingMs), () => {
      const graceMs = this.setup.definition.effective['termination-grace-period-secs'] * 1000
      const { advertise } = this.#context
      const isUnheard = advertise !== undefined && !this.record.flags.includes('has-connected')
      const hint = isUnheard ? `; nothing accepts connections at ${advertise}: does it listen on $HOST?` : ''
      this.violate('never-passed-health-checks', `Exceeded grace period of ${graceSecs} seconds${hint}`, graceMs)
    })
  }

  #onHealth(report: HealthReport): void {
    if (this.#ending !== null) return
    const isFirstPass = report.state === 'healthy' && this.record.healthyAtMs === null
    if (isFirstPass) this.#graceTimer?.cancel()
    const next: InstanceRecord = {
      ...this.record,
      state: report.state,
      host: report.host ?? this.record.host,
      healthCheckStatus: report.status,
      flags: report.flags,
      healthyAtMs: isFirstPass ? this.#context.timers.nowMs() : this.record.healthyAtMs,
    }
    if (isSameHealth(this.record, next)) return
    const isWorthWriting = next.state !== this.record.state
    this.record = next
    // Requests wait for the news; the file only serves a start after a crash, which probes anew anyway.
    this.#context.onChange(this)
    if (isWorthWriting) this.#write(false)
  }

  #onExit(exit: Exit): void {
    if (this.#exit !== null || this.#context.isClosed()) return
    this.#exit = exit
    this.#exited.resolve()
    if (this.#ending !== null) return // on request: the stop in progress reports it
    this.#ending = describeExit(exit, this.record.healthyAtMs !== null)
    this.#settle(this.#ending)
    this.#context.onFailure(this)
    this.#reap(0)
  }

  #stop(ending: Ending, graceMs: number): void {
    this.#ending = ending
    this.#health.stop()
    this.#graceTimer?.cancel()
    this.#reap(graceMs)
  }

  /** Ends everything that still runs of it, then gives its ports back. */
  #reap(graceMs: number): void {
    const { table, timers, log } = this.#context
    const exited = this.#exited.promise
    stopTree(this.tree, graceMs, { table, timers, log, exited, isClosed: () => this.#context.isClosed() })
      .then(isStopped => {
        if (!isStopped) return this.#finished.resolve() // closed: whoever opens the directory next goes on
        // Dead already, but the exit code of a child comes with its event.
        return this.setup.child === null ? this.#finish() : exited.then(() => this.#finish())
      })
      .catch(cause => {
        log.error({ instanceId: this.record.instanceId, cause: String(cause) }, 'stopping an instance failed')
        this.#finish()
      })
  }

  #finish(): void {
    if (this.record.endedAtMs === null && this.#ending !== null) this.#settle(this.#ending)
    const ports = [this.record.port, ...this.record.extraPorts]
    // Nobody was ever sent to an instance that never was healthy: its ports need no rest.
    if (this.record.healthyAtMs === null) this.#context.ports.releaseUnused(ports)
    else this.#context.ports.release(ports)
    this.#context.onFinish(this)
    this.#finished.resolve()
  }

  /** Writes and reports the end. */
  #settle(ending: Ending): void {
    this.#health.stop()
    this.#graceTimer?.cancel()
    this.record = {
      ...this.record,
      state: ending.state,
      endedAtMs: this.#context.timers.nowMs(),
      exitCode: this.#exit?.code ?? null,
      message: ending.message,
      flags: ending.flag === null ? this.record.flags : [...new Set([...this.record.flags, ending.flag])],
      stderrTail: ending.state === 'failed' ? readStderrTail(this.setup.sandbox) : '',
    }
    this.#write(true)
    this.#context.onChange(this)
  }

  #write(hasEnded: boolean): void {
    // Another one's by now: what it knows is newer.
    if (this.#context.isClosed()) return
    const { setup, record } = this
    try {
      this.#context.files.writeInstance({
        format: 1,
        bootId: this.#context.bootId,
        pid: setup.pid,
        startTicks: setup.startTicks,
        hasEnded,
        definition: setup.definition,
        record,
      })
    } catch (cause) {
      // What runs goes on; after a crash the next start would know a little less.
      this.#context.log.error({ instanceId: record.instanceId, cause: String(cause) }, 'cannot write instance file')
    }
  }
}

/** The state an instance is in right after a spawn, whose child may even have ended already. */
export function readStartTicks(pid: number): number | null {
  return readStat(pid)?.startTicks ?? null
}

function describeExit(exit: Exit, wasHealthy: boolean): Ending {
  if (exit.signal !== null) return { state: 'failed', message: `Killed by signal ${exit.signal}`, flag: null }
  if (exit.code === null)
    return { state: 'failed', message: 'Exited; the exit code went to an earlier Waiter', flag: null }
  // An orderly end of what had served is no error (spec §6.2 "inactive, not failed"): not counted among the failed ones.
  // One that never served is: whoever waits for it must learn that its command ends instead of listening.
  return {
    state: exit.code === 0 && wasHealthy ? 'killed' : 'failed',
    message: `Exited with code ${exit.code}`,
    flag: null,
  }
}

function isSameHealth(a: InstanceRecord, b: InstanceRecord): boolean {
  return (
    a.state === b.state &&
    a.host === b.host &&
    a.healthCheckStatus === b.healthCheckStatus &&
    a.flags.length === b.flags.length
  )
}

/** For how long an instance was healthy, until it ended or now. */
export function computeHealthyMs(record: InstanceRecord, nowMs: Millis): number {
  return record.healthyAtMs === null ? 0 : (record.endedAtMs ?? nowMs) - record.healthyAtMs
}
