import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPrng } from '@waiter/base'
import { SchedulerView } from '../../src/contract.ts'
import { createProcessScheduler, type ProcessScheduler, type ProcessSchedulerOptions } from '../../src/index.ts'
import { ProcessTable, readStat } from '../../src/process/process-table.ts'
import { WarpTimers } from './warp-timers.ts'

export const FENCE = { term: 1 }

/** One open scheduler in a directory of its own, with time that can jump. */
export interface Opened {
  readonly scheduler: ProcessScheduler
  readonly view: SchedulerView
  readonly timers: WarpTimers
  readonly dataDir: string
  readonly logs: string[]
  /** Another scheduler object on the same directory; the first one goes quiet. */
  reopen(options?: Partial<ProcessSchedulerOptions>): Promise<Opened>
}

interface Teardown {
  teardown(run: () => unknown): void
}

let seed = process.pid

export async function openScheduler(t: Teardown, options: Partial<ProcessSchedulerOptions> = {}): Promise<Opened> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'waiter-process-test-'))
  const timers = new WarpTimers()
  const logs: string[] = []
  const note = (fields: unknown, message: string): void => void logs.push(`${message} ${JSON.stringify(fields)}`)
  seed += 1
  const scheduler = await createProcessScheduler({
    timers,
    prng: createPrng(seed),
    log: { debug: note, info: note, warn: note, error: note },
    ...options,
    dataDir,
  })
  const view = new SchedulerView(scheduler)
  t.teardown(async () => {
    await view[Symbol.asyncDispose]()
    await scheduler.stopAll(0)
    if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true, maxRetries: 3 })
  })
  return { scheduler, view, timers, dataDir, logs, reopen: more => openScheduler(t, { ...options, ...more, dataDir }) }
}

/** Pids of living processes whose environment names a directory below this. */
export async function processesBelow(dataDir: string): Promise<number[]> {
  const snapshot = await new ProcessTable().scan()
  return [...snapshot.values()].filter(p => !p.isZombie && p.sandbox?.startsWith(dataDir)).map(p => p.pid)
}

/** Runs and is not merely waiting for its parent to look at its exit code. */
export function isRunning(pid: number): boolean {
  return readStat(pid)?.isZombie === false
}
