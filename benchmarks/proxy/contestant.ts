import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'

/** The proxy alone runs here. */
export const PROXY_CPU = 0
/** Load generator, backend and the benchmark itself run here. */
export const OTHER_CPU = 1
const LISTENING_MS_MAX = 10_000
const STOP_MS_MAX = 5_000
const HIGHEST_PRIORITY = '-20'

/** A proxy under test, running. */
export interface Contestant {
  readonly name: string
  readonly port: number
  /** All its processes: their CPU time and memory are what it costs. Empty for the backend without a proxy. */
  readonly pids: readonly number[]
  /** Among these, those that requests pass through, when the rest only manages them. */
  readonly dataPlanePids?: readonly number[]
  stop(): Promise<void>
}

/** A peer that this machine cannot run, and why. */
export interface Skipped {
  readonly name: string
  readonly reason: string
}

/** How a peer is started. */
export interface PinnedCommand {
  readonly command: string
  readonly args: readonly string[]
  /** Where it will listen. */
  readonly port: number
  readonly stdoutFile: string
}

/** Starts a peer on the proxy's CPU and waits until it listens. */
export async function startPinned({ command, args, port, stdoutFile }: PinnedCommand): Promise<ChildProcess> {
  const output = openSync(stdoutFile, 'a')
  const child = spawn('taskset', ['-c', String(PROXY_CPU), command, ...args], { stdio: ['ignore', output, 'pipe'] })
  closeSync(output)
  let complaints = ''
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
    complaints = (complaints + piece).slice(-2_000)
  })
  const deadline = performance.now() + LISTENING_MS_MAX
  while (!(await isListening(port))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      child.kill('SIGKILL')
      throw new Error(`${command} does not listen on port ${port}: ${complaints.trim()}`)
    }
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  return child
}

/** Ends a child that `startPinned` started. */
export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
  await gone
  clearTimeout(timer)
}

/** Moves running processes with all their threads. */
export function pin(pids: readonly number[], cpu: number): void {
  for (const pid of pids) execFileSync('taskset', ['-a', '-p', '-c', String(cpu), String(pid)], { stdio: 'ignore' })
}

/**
 * Lets sessions of processes run before everybody else's: a busy machine measures itself otherwise.
 *
 * @throws {Error} when the kernel has no autogroups, or does not let us
 */
export function favour(pids: readonly number[]): void {
  for (const pid of pids) writeFileSync(`/proc/${pid}/autogroup`, HIGHEST_PRIORITY)
}

/** Where a command is, or undefined. Daemons lie in directories that are not on everybody's path. */
export function findCommand(name: string): string | undefined {
  const path = `${process.env.PATH}:/usr/sbin:/sbin:/usr/local/sbin:/usr/local/go/bin`
  try {
    const found = execFileSync('/bin/sh', ['-c', `command -v ${name}`], {
      env: { PATH: path },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return found.toString().trim()
  } catch {
    return undefined
  }
}

function isListening(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port })
    const answer = (isThere: boolean) => (): void => {
      socket.destroy()
      resolve(isThere)
    }
    socket.on('connect', answer(true)).on('error', answer(false))
  })
}
