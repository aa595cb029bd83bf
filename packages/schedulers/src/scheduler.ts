import type { InstanceId, Millis, ServiceId, Term } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'

/**
 * Runs instances of services somewhere: as local processes, in Kubernetes, on Mesos.
 *
 * The scheduler is the database of instances: whoever leads lists it before deciding anything. It keeps the requested
 * number of instances running by itself (a failed one is replaced, with back-off) and does the health checks.
 * Every call that changes something carries a fence; a call with a lower term than one seen before is refused with
 * `WTR_FENCED`, so that a deposed leader cannot act.
 */
export interface Scheduler {
  readonly name: string
  /**
   * A full listing first, then every change in order. After a gap it lists again. One listing is always delivered,
   * also when nothing runs. Ends when `signal` aborts.
   */
  watch(signal: AbortSignal): AsyncIterable<SchedulerEvent>
  /** Makes the service known and requests `count` instances. Idempotent: an existing service is left alone. */
  create(service: ServiceDefinition, count: number, fence: Fence): Promise<void>
  /** Raises the requested count; a lower `to` than requested changes nothing. Unknown service: `WTR_NO_SUCH_SERVICE`. */
  scale(id: ServiceId, to: number, fence: Fence): Promise<void>
  /**
   * Stops this instance (SIGTERM to its whole group, SIGKILL after `graceMs`) and lowers the requested count by one.
   * The count is lowered before the signal, so that no replacement starts. Resolves when nothing of it runs any more.
   */
  kill(request: KillRequest, fence: Fence): Promise<KillResult>
  /** Stops all instances and forgets the service. Resolves when nothing of it runs any more. Unknown: no error. */
  delete(id: ServiceId, fence: Fence): Promise<void>
  /**
   * The service's overrides changed: from now on this definition holds, for what runs as well, as far as it can change
   * while it runs. Unknown service: no error.
   */
  update(service: ServiceDefinition, fence: Fence): Promise<void>
  /**
   * Requests come for the service; said again and again while they do. What nobody uses may be looked at less often.
   * Absent: the scheduler does not care.
   */
  noteUse?(id: ServiceId): void
  /**
   * True of an instance of which no earlier leader can have heard, one that has not noticed its deposal included: it was
   * started after the first listing, under the eyes of this watcher alone. Absent: that is not known of any.
   */
  isUnheard?(instance: InstanceRef): boolean
  /** Lists files of an instance's working directory; `path` is relative to it and cannot leave it. */
  logs(instance: InstanceRef, path: string): Promise<readonly LogEntry[]>
  /** Reads at most `LOG_PIECE_BYTES_MAX` bytes of a file there; fewer at its end. */
  readLog(instance: InstanceRef, path: string, range: LogRange): Promise<LogPiece>
}

/** The largest piece of a log file that travels at once. */
export const LOG_PIECE_BYTES_MAX: number = 1024 * 1024

/** Which bytes of a file are wanted. */
export interface LogRange {
  readonly offset: number
  readonly length: number
}

/** Bytes of a file, and how large the file is now. */
export interface LogPiece {
  readonly content: Uint8Array
  readonly size: number
}

/** Who is allowed to act: the term of the leader that decided. */
export interface Fence {
  readonly term: Term
}

export interface InstanceRef {
  readonly serviceId: ServiceId
  readonly instanceId: InstanceId
}

export interface KillRequest extends InstanceRef {
  /** From SIGTERM to SIGKILL. */
  readonly graceMs: number
  /** Recorded in the instance's `message`, for people who ask why it ended. */
  readonly reason: string
}

export type KillResult = { readonly kind: 'killed' } | { readonly kind: 'no-such-instance' }

export type SchedulerEvent =
  | { readonly kind: 'listing'; readonly services: readonly ServiceRecord[] }
  /** A service appeared, or its requested count or its trouble changed. `instances` is not repeated here. */
  | {
      readonly kind: 'service'
      readonly definition: ServiceDefinition
      readonly requested: number
      readonly startTrouble?: string | null
    }
  | { readonly kind: 'service-removed'; readonly serviceId: ServiceId }
  /** An instance appeared or anything about it changed; ended ones (`failed`, `killed`) are reported once like this. */
  | { readonly kind: 'instance'; readonly instance: InstanceRecord }

export interface ServiceRecord {
  readonly definition: ServiceDefinition
  /** How many instances the scheduler tries to keep running. */
  readonly requested: number
  /** Why instances cannot be started at present, for people; the scheduler keeps trying. Absent or null: nothing of that. */
  readonly startTrouble?: string | null
  /** Running ones and a bounded number of ended ones (newest 10 failed, newest 12 killed, spec §5.2). */
  readonly instances: readonly InstanceRecord[]
}

/**
 * - `starting`: runs, has not passed a health check yet.
 * - `healthy`: passes its health checks.
 * - `unhealthy`: was healthy once, now fails its checks.
 * - `failed`: ended by itself, or was stopped because it broke a rule (memory, grace period).
 * - `killed`: stopped on request.
 */
export type InstanceState = 'starting' | 'healthy' | 'unhealthy' | 'failed' | 'killed'

/** Why an instance is in trouble, as the deployment-error rules of spec §5.2 read it. */
export type InstanceFlag =
  | 'has-connected'
  | 'has-responded'
  | 'memory-limit-exceeded'
  | 'never-passed-health-checks'
  | 'timeout-exception'
  | 'hangup-exception'
  | 'ssl-exception'
  | 'expired'

export interface InstanceRecord extends InstanceRef {
  readonly state: InstanceState
  /** Address that answered (or will be tried): `127.0.0.4`, `::1`. */
  readonly host: string
  readonly port: number
  readonly extraPorts: readonly number[]
  readonly startedAtMs: Millis
  /** When the first health check passed. */
  readonly healthyAtMs: Millis | null
  readonly endedAtMs: Millis | null
  readonly flags: readonly InstanceFlag[]
  readonly exitCode: number | null
  readonly healthCheckStatus: number | null
  /** A sentence for people: `Exited with code 127`. */
  readonly message: string | null
  /** Last lines of stderr of a failed instance, bounded; empty otherwise. */
  readonly stderrTail: string
  readonly logDirectory: string | null
  /**
   * Absent: its host answers. `lost`: it does not at present; what is known of the instance is what was true then, and it
   * cannot be stopped. `given-up`: it has not for so long that the instance does not count as one of those requested.
   */
  readonly hostContact?: 'lost' | 'given-up'
  /** Its host is about to stop, and others could run it: it is to be replaced there, then stopped. */
  readonly hostDrains?: true
  /** Scheduler-specific facts shown as they are, for example `shell-scheduler/pid`. */
  readonly extra: Readonly<Record<string, string | number | null>>
}

export interface LogEntry {
  readonly name: string
  readonly type: 'file' | 'directory'
  /** Bytes; absent for directories. */
  readonly size?: number
  /** Path relative to the working directory. */
  readonly path: string
}
