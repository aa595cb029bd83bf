import { readdirSync, readFileSync } from 'node:fs'

/** One process of this machine, as `/proc` shows it. */
export interface ListedProcess {
  readonly pid: number
  readonly parentPid: number
  /** Process group. */
  readonly group: number
  /** Undefined for processes that have ended, or whose environment may not be read. */
  readonly sandbox: string | undefined
  /** Words of the command line. */
  readonly words: readonly string[]
}

/** All processes that still run (no zombies). Linux only. */
export function listProcesses(): ListedProcess[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .flatMap(name => readProcess(Number(name)) ?? [])
}

/** Does this process still run? A zombie does not. */
export function isRunning(pid: number): boolean {
  return readProcess(pid) !== undefined
}

/** Resident memory in bytes; undefined when there is no such process. */
export function residentBytes(pid: number): number | undefined {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readText(`/proc/${pid}/status`))?.[1]
  return kib === undefined ? undefined : Number(kib) * 1024
}

function readProcess(pid: number): ListedProcess | undefined {
  const stat = readText(`/proc/${pid}/stat`)
  // The name in parentheses may contain anything, so fields are counted from its end.
  const [state, parent, group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (stat === '' || state === 'Z' || state === 'X') return undefined
  const variables = readText(`/proc/${pid}/environ`).split('\0')
  const sandbox = variables.find(variable => variable.startsWith(SANDBOX))?.slice(SANDBOX.length)
  const words = readText(`/proc/${pid}/cmdline`).split('\0').slice(0, -1)
  return { pid, parentPid: Number(parent), group: Number(group), sandbox, words }
}

const SANDBOX = 'WAITER_SANDBOX='

/** Empty when the process has gone meanwhile. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
