import { type ChildProcess, spawn } from 'node:child_process'
import { findCommand } from '../../benchmarks/proxy/contestant.ts'

/** What a program printed, and how it ended. */
export interface ProgramRun {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const RUN_MS_MAX = 60_000

/**
 * Why a test of these programs is skipped, or false. Where everything must run (`TEST_ALL_PROGRAMS`, which `.ci/run`
 * sets), nothing is skipped: the test then fails for want of the program.
 */
export function missing(...names: readonly string[]): string | false {
  const absent = names.filter(name => findCommand(name) === undefined)
  if (absent.length === 0 || process.env.TEST_ALL_PROGRAMS !== undefined) return false
  return `not installed: ${absent.join(', ')} (see .ci/run for the Debian packages)`
}

/** Runs a program to its end; it is killed after a minute. */
export function runProgram(name: string, args: readonly string[], input?: string | Uint8Array): Promise<ProgramRun> {
  const child = spawn(findCommand(name) ?? name, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  return collect(child)
}

async function collect(child: ChildProcess): Promise<ProgramRun> {
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('latin1').on('data', (piece: string) => {
      text[name] += piece
    })
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), RUN_MS_MAX)
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', status => resolve(status ?? -1))
    })
    return { code, ...text }
  } finally {
    clearTimeout(timer)
  }
}
