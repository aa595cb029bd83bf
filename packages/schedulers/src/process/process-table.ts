import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** Processes read before the event loop gets a turn: about 2 ms of work. */
const PROCESSES_PER_TURN_MAX = 200
/** A stat line is about 350 bytes; the name inside it is at most 64. */
const STAT_BYTES_MAX = 2048
/** More environment than this is not searched: a WAITER_SANDBOX that Waiter set is in the inherited part. */
const ENVIRON_BYTES_MAX = 256 * 1024
const SANDBOX_PREFIX = 'WAITER_SANDBOX='

/** One process as `/proc` shows it. */
export interface ProcessEntry {
  readonly pid: number
  readonly parentPid: number
  readonly group: number
  readonly session: number
  /** Clock ticks since boot at which it started; with the pid it names one process of this boot. */
  readonly startTicks: number
  readonly rssBytes: number
  /** CPU time it has used, in clock ticks (10 ms). */
  readonly cpuTicks: number
  /** Dead, but not yet reaped by its parent. */
  readonly isZombie: boolean
  readonly name: string
  /** Value of `WAITER_SANDBOX` in its environment; null when unset or not ours to read. */
  readonly sandbox: string | null
}

/** All processes of one moment, by pid. */
export type ProcessSnapshot = ReadonlyMap<number, ProcessEntry>

/**
 * Reads `/proc`. One scan serves everybody who asked before it began, so that killing a thousand instances at once
 * costs a handful of scans, not thousands. Environments are read once per process and cached while it lives.
 */
export class ProcessTable {
  readonly #environmentCache = new Map<number, { key: string; sandbox: string | null }>()
  #running: Promise<unknown> = Promise.resolve()
  #next: Promise<ProcessSnapshot> | undefined

  /** A snapshot that began after this call. */
  scan(): Promise<ProcessSnapshot> {
    if (this.#next !== undefined) return this.#next
    const started = this.#running.then(() => {
      this.#next = undefined
      return this.#scanNow()
    })
    this.#next = started
    this.#running = started.catch(() => undefined)
    return started
  }

  async #scanNow(): Promise<ProcessSnapshot> {
    const snapshot = new Map<number, ProcessEntry>()
    let count = 0
    for (const name of readdirSync('/proc')) {
      const first = name.charCodeAt(0)
      if (first < 48 || first > 57) continue
      const stat = readStat(Number(name))
      if (stat !== null) snapshot.set(stat.pid, Object.assign(stat, { sandbox: this.#sandboxOf(stat) }))
      if (++count % PROCESSES_PER_TURN_MAX === 0) await nextTurn()
    }
    for (const pid of this.#environmentCache.keys()) if (!snapshot.has(pid)) this.#environmentCache.delete(pid)
    return snapshot
  }

  /** A forked child still shows its parent's environment until it executes its program, which changes its name. */
  #sandboxOf(stat: ProcessStat): string | null {
    const key = `${stat.startTicks} ${stat.name}`
    const cached = this.#environmentCache.get(stat.pid)
    if (cached?.key === key) return cached.sandbox
    const sandbox = readSandbox(stat.pid)
    this.#environmentCache.set(stat.pid, { key, sandbox })
    return sandbox
  }
}

/** A process without its environment. */
export type ProcessStat = Omit<ProcessEntry, 'sandbox'>

const statBuffer = Buffer.allocUnsafe(STAT_BYTES_MAX)

/** Reads one process; null when there is none with this pid. */
export function readStat(pid: number): ProcessStat | null {
  const bytes = readInto(statBuffer, `/proc/${pid}/stat`)
  if (bytes <= 0) return null
  // The name may hold anything, also parentheses and blanks; what follows it is one letter and numbers.
  const nameEnd = statBuffer.lastIndexOf(CLOSING_PARENTHESIS, bytes - 1)
  const nameStart = statBuffer.indexOf(OPENING_PARENTHESIS) + 1
  if (nameStart <= 0 || nameEnd < nameStart) return null
  const state = statBuffer[nameEnd + 2] ?? LETTER_X
  const fields = readNumbers(statBuffer, nameEnd + 4, bytes)
  return {
    pid,
    parentPid: fields[0] as number,
    group: fields[1] as number,
    session: fields[2] as number,
    startTicks: fields[18] as number,
    cpuTicks: (fields[10] as number) + (fields[11] as number),
    rssBytes: (fields[20] as number) * pageBytes(),
    isZombie: state === LETTER_Z || state === LETTER_X || state === LETTER_X_SMALL,
    name: statBuffer.toString('latin1', nameStart, nameEnd),
  }
}

const OPENING_PARENTHESIS = 0x28
const CLOSING_PARENTHESIS = 0x29
const LETTER_X = 0x58
const LETTER_Z = 0x5a
const LETTER_X_SMALL = 0x78
const BLANK = 0x20
const MINUS = 0x2d
const DIGIT_0 = 0x30
/** From the parent's pid to the resident pages; nothing after them is of use. */
const STAT_NUMBERS = 21
const statNumbers: number[] = new Array(STAT_NUMBERS).fill(0)

/** Thousands of these lines are read in a row: no string and no array for each field. Missing ones are NaN. */
function readNumbers(bytes: Buffer, start: number, end: number): readonly number[] {
  let at = start
  for (let index = 0; index < STAT_NUMBERS; index++) {
    let value = at < end ? 0 : Number.NaN
    const isNegative = bytes[at] === MINUS
    if (isNegative) at += 1
    for (; at < end && bytes[at] !== BLANK; at++) value = value * 10 + (bytes[at] as number) - DIGIT_0
    statNumbers[index] = isNegative ? -value : value
    at += 1
  }
  return statNumbers
}

/** True while the process that had this pid and start time runs (zombies do not). */
export function isAlive(pid: number, startTicks: number): boolean {
  const stat = readStat(pid)
  return stat !== null && stat.startTicks === startTicks && !stat.isZombie
}

/** True while a process, or a zombie, has this number; costs a tenth of a look into `/proc`. */
export function hasProcess(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Names this boot of the machine: pids and start times mean nothing across boots. */
export function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
}

const environmentBuffer = Buffer.allocUnsafe(ENVIRON_BYTES_MAX)

function readSandbox(pid: number): string | null {
  const bytes = readInto(environmentBuffer, `/proc/${pid}/environ`)
  if (bytes <= 0) return null
  let at = environmentBuffer.subarray(0, bytes).indexOf(SANDBOX_PREFIX)
  while (at > 0 && environmentBuffer[at - 1] !== 0) {
    at = environmentBuffer.subarray(0, bytes).indexOf(SANDBOX_PREFIX, at + 1)
  }
  if (at < 0) return null
  const end = environmentBuffer.subarray(0, bytes).indexOf(0, at)
  return environmentBuffer.toString('utf8', at + SANDBOX_PREFIX.length, end < 0 ? bytes : end)
}

/** Bytes read, or -1: processes vanish while one looks, and other users' environments are closed to us. */
function readInto(buffer: Buffer, path: string): number {
  let file = -1
  try {
    file = openSync(path, 'r')
    let total = 0
    while (total < buffer.length) {
      const bytes = readSync(file, buffer, total, buffer.length - total, null)
      if (bytes === 0) break
      total += bytes
      if (buffer === statBuffer) break // one read returns the whole line
    }
    return total
  } catch {
    return -1
  } finally {
    if (file >= 0) closeSync(file)
  }
}

let knownPageBytes = 0

/** Page size from the auxiliary vector: 4 KiB on most machines, 16 or 64 KiB on some arm64. */
function pageBytes(): number {
  if (knownPageBytes > 0) return knownPageBytes
  const AT_PAGESZ = 6n
  const DEFAULT_PAGE_BYTES = 4096
  knownPageBytes = DEFAULT_PAGE_BYTES
  const vector = readFileSync('/proc/self/auxv')
  for (let at = 0; at + 16 <= vector.length; at += 16) {
    if (vector.readBigUInt64LE(at) === AT_PAGESZ) knownPageBytes = Number(vector.readBigUInt64LE(at + 8))
  }
  return knownPageBytes
}
