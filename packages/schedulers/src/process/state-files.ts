import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rm,
  rmdirSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import type { InstanceId, Logger, ServiceId } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import type { InstanceRecord } from '../scheduler.ts'

/** Unreadable files kept for people to look at; the oldest goes first. */
const CORRUPT_FILES_MAX = 20
/** A state file larger than this is not one of ours. */
const STATE_FILE_BYTES_MAX = 4 * 1024 * 1024

/** What is written about one instance, before it is spawned (`pid` null) and whenever something lasting changes. */
export interface StoredInstance {
  readonly format: 1
  /** This boot of the machine: pid and start time mean nothing in another. */
  readonly bootId: string
  readonly pid: number | null
  readonly startTicks: number | null
  readonly hasEnded: boolean
  readonly definition: ServiceDefinition
  readonly record: InstanceRecord
}

/** What is written about one service. */
export interface StoredService {
  readonly format: 1
  readonly definition: ServiceDefinition
  readonly requested: number
}

/**
 * The scheduler's own files.
 *
 * ```
 * <dataDir>/owner.json  fence.json
 * <dataDir>/instances/<service-id>/service.json
 * <dataDir>/instances/<service-id>/<instance-id>.json      what is known about the instance
 * <dataDir>/instances/<service-id>/<instance-id>/          its working directory
 * <dataDir>/corrupt/                                       what could not be read, newest 20
 * ```
 * An instance's file lies beside its working directory, not in it: the directory belongs to the user that the service
 * runs as, who must not be able to write which processes Waiter signals. Files are replaced by rename, so they are
 * never half-written after a crash of Waiter.
 */
export class StateFiles {
  readonly dataDir: string
  readonly instancesDir: string
  readonly #log: Logger

  constructor(dataDir: string, log: Logger) {
    this.#log = log
    // Others may pass through (services may run as other users) but not list.
    mkdirSync(join(dataDir, 'instances'), { recursive: true, mode: 0o711 })
    // One spelling for ever: working directories are recognised by their path in the environment of processes.
    this.dataDir = realpathSync(dataDir)
    this.instancesDir = join(this.dataDir, 'instances')
  }

  serviceDir(id: ServiceId): string {
    return join(this.instancesDir, id)
  }

  /** The instance's working directory. */
  sandbox(serviceId: ServiceId, instanceId: InstanceId): string {
    return join(this.instancesDir, serviceId, instanceId)
  }

  writeService(service: StoredService): void {
    mkdirSync(this.serviceDir(service.definition.id), { recursive: true, mode: 0o711 })
    replaceFile(join(this.serviceDir(service.definition.id), 'service.json'), JSON.stringify(service), false)
  }

  removeService(id: ServiceId): void {
    rmSync(join(this.serviceDir(id), 'service.json'), { force: true })
  }

  writeInstance(stored: StoredInstance): void {
    replaceFile(
      `${this.sandbox(stored.record.serviceId, stored.record.instanceId)}.json`,
      JSON.stringify(stored),
      false,
    )
  }

  /** Removes an ended instance's working directory and file. */
  removeInstance(serviceId: ServiceId, instanceId: InstanceId): void {
    const sandbox = this.sandbox(serviceId, instanceId)
    rmSync(`${sandbox}.json`, { force: true })
    // Not synchronous: it may hold a million files.
    rm(sandbox, { recursive: true, force: true }, cause => {
      if (cause !== null) this.#log.warn({ sandbox, cause: String(cause) }, 'cannot remove a working directory')
    })
  }

  /** Forgets the directory of a deleted service once its instances' directories are gone. */
  removeServiceDirIfEmpty(id: ServiceId): void {
    try {
      rmdirSync(this.serviceDir(id))
    } catch {
      // Not empty yet.
    }
  }

  listServiceIds(): ServiceId[] {
    return readdirSync(this.instancesDir, { withFileTypes: true })
      .filter(entry => entry.isDirectory())
      .map(entry => entry.name)
  }

  readService(id: ServiceId): StoredService | null {
    return this.#read(join(this.serviceDir(id), 'service.json'), parseStoredService)
  }

  readInstances(id: ServiceId): StoredInstance[] {
    const found: StoredInstance[] = []
    for (const name of readdirSync(this.serviceDir(id))) {
      if (!name.endsWith('.json') || name === 'service.json') continue
      const stored = this.#read(join(this.serviceDir(id), name), parseStoredInstance)
      if (stored === null) continue
      if (stored.record.serviceId === id && `${stored.record.instanceId}.json` === name) found.push(stored)
      else this.#moveAside(join(this.serviceDir(id), name), 'it names another instance')
    }
    return found
  }

  /** Working directories that have no file any more, for example because it was unreadable. */
  listSandboxes(id: ServiceId): InstanceId[] {
    return readdirSync(this.serviceDir(id), { withFileTypes: true })
      .filter(entry => entry.isDirectory())
      .map(entry => entry.name)
  }

  #read<T>(path: string, parse: (value: unknown) => T | null): T | null {
    let text: string
    try {
      text = readFileSync(path, 'utf8')
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') this.#moveAside(path, String(cause))
      return null
    }
    const parsed = text.length > STATE_FILE_BYTES_MAX ? null : parse(parseJson(text))
    if (parsed === null) this.#moveAside(path, 'its content is not what Waiter writes')
    return parsed
  }

  #moveAside(path: string, why: string): void {
    const corruptDir = join(this.dataDir, 'corrupt')
    this.#log.error({ path, why, movedTo: corruptDir }, 'unreadable state file moved aside; its processes are stopped')
    try {
      mkdirSync(corruptDir, { recursive: true, mode: 0o700 })
      const kept = readdirSync(corruptDir).sort()
      for (const name of kept.slice(0, Math.max(0, kept.length - CORRUPT_FILES_MAX + 1))) {
        rmSync(join(corruptDir, name), { recursive: true, force: true })
      }
      renameSync(path, join(corruptDir, `${Date.now()}-${basename(path)}`))
    } catch (cause) {
      this.#log.error({ path, cause: String(cause) }, 'could not move the unreadable state file aside')
    }
  }
}

/**
 * Replaces a file as a whole. `isDurable` waits for the disk: needed for what must survive a power cut; processes do
 * not survive one, so what is known about them need not either.
 */
export function replaceFile(path: string, text: string, isDurable: boolean): void {
  const temporary = `${path}.new`
  const file = openSync(temporary, 'w', 0o600)
  try {
    writeSync(file, text)
    if (isDurable) fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(temporary, path)
}

/** The value, or undefined when the text is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** An object of unknown content; the named fields are those that are looked at one by one. */
interface Fields {
  readonly [name: string]: unknown
  readonly bootId?: unknown
  readonly core?: unknown
  readonly definition?: unknown
  readonly effective?: unknown
  readonly extra?: unknown
  readonly extraPorts?: unknown
  readonly flags?: unknown
  readonly format?: unknown
  readonly hasEnded?: unknown
  readonly id?: unknown
  readonly pid?: unknown
  readonly record?: unknown
  readonly requested?: unknown
  readonly startTicks?: unknown
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseStoredService(value: unknown): StoredService | null {
  if (!isFields(value) || value.format !== 1 || !isDefinition(value.definition)) return null
  const requested = value.requested
  if (typeof requested !== 'number' || !Number.isSafeInteger(requested) || requested < 0) return null
  return { format: 1, definition: value.definition, requested }
}

function parseStoredInstance(value: unknown): StoredInstance | null {
  if (!isFields(value) || value.format !== 1) return null
  const { bootId, pid, startTicks, hasEnded, definition, record } = value
  const isShaped =
    typeof bootId === 'string' &&
    isPidOrNull(pid) &&
    isPidOrNull(startTicks) &&
    typeof hasEnded === 'boolean' &&
    isDefinition(definition) &&
    isRecord(record)
  return isShaped ? { format: 1, bootId, pid, startTicks, hasEnded, definition, record } : null
}

function isPidOrNull(value: unknown): value is number | null {
  return value === null || (typeof value === 'number' && Number.isSafeInteger(value) && value > 1)
}

/** Only what the scheduler itself reads: the file was written by Waiter from a validated description. */
function isDefinition(value: unknown): value is ServiceDefinition {
  if (!isFields(value) || typeof value.id !== 'string' || !isFields(value.core)) return false
  const effective = value.effective
  if (!isFields(effective)) return false
  return (
    ['cmd', 'run-as-user', 'health-check-url'].every(key => typeof effective[key] === 'string') &&
    ['mem', 'ports', 'grace-period-secs', 'health-check-interval-secs'].every(key => typeof effective[key] === 'number')
  )
}

function isRecord(value: unknown): value is InstanceRecord {
  if (!isFields(value)) return false
  const { extraPorts, flags } = value
  return (
    ['serviceId', 'instanceId', 'state', 'host', 'stderrTail'].every(key => typeof value[key] === 'string') &&
    ['port', 'startedAtMs'].every(key => typeof value[key] === 'number') &&
    ['healthyAtMs', 'endedAtMs'].every(key => value[key] === null || typeof value[key] === 'number') &&
    Array.isArray(extraPorts) &&
    extraPorts.every(port => typeof port === 'number') &&
    Array.isArray(flags) &&
    isFields(value.extra)
  )
}
