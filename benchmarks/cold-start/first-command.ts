import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Epoch milliseconds with a fraction. Comparable between processes of one machine: both terms come from the system's
 * clocks, read together when the process started.
 */
export function nowMs(): number {
  return performance.timeOrigin + performance.now()
}

/** Lets the command's shell say when it began: bash prints its clock, in microseconds, before anything else. */
export function announcing(command: string): string {
  return `echo $EPOCHREALTIME; ${command}`
}

/** When the command in this working directory began, in epoch milliseconds; null when its bash cannot tell. */
export function readFirstCommandMs(directory: string): number | null {
  const match = /^(\d+)[.,](\d{6})$/m.exec(readFileSync(join(directory, 'stdout'), 'latin1').slice(0, 100))
  return match === null ? null : Number(match[1]) * 1000 + Number(match[2]) / 1000
}
