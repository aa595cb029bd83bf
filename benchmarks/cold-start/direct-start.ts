import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { freePort } from '../../packages/testkit/src/index.ts'
import { announcing, nowMs, readFirstCommandMs } from './first-command.ts'

/**
 * Between two questions. Asking without any pause takes so much of the machine that the backend starts later: on two
 * cores its median rose by a third.
 */
const POLL_MS = 1
/** Long beyond any start; only a broken backend takes it. */
const START_MS_MAX = 20_000

/** One start without Waiter; times in milliseconds. */
export interface DirectStart {
  /** From right before the spawn to the whole answer of the first request that one was got for. */
  readonly wholeMs: number
  readonly firstCommandMs: number | null
}

/**
 * Starts the command as Waiter would (bash -c, a session of its own, output to files) and asks it again and
 * again until it answers. A router can hardly be quicker: it has to do the same, and to hear of the request first.
 */
export async function startDirectly(command: string, parent: string): Promise<DirectStart> {
  const port = await freePort()
  const directory = mkdtempSync(join(parent, 'direct-'))
  const outputs = ['stdout', 'stderr'].map(name => openSync(join(directory, name), 'a', 0o600))
  const line = announcing(command)
  const spawnedAtMs = nowMs()
  const child = spawn('/bin/bash', ['-c', line], {
    cwd: directory,
    detached: true,
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', PORT0: String(port) },
    stdio: ['ignore', ...outputs],
  })
  const gone = once(child, 'exit')
  try {
    while (!(await answers(port))) {
      if (child.exitCode !== null) throw new Error(`ended with code ${child.exitCode} before it answered: ${command}`)
      if (nowMs() - spawnedAtMs > START_MS_MAX) throw new Error(`no answer in time from: ${command}`)
      await new Promise(resolve => setTimeout(resolve, POLL_MS))
    }
    const wholeMs = nowMs() - spawnedAtMs
    const firstCommandAtMs = readFirstCommandMs(directory)
    return { wholeMs, firstCommandMs: firstCommandAtMs === null ? null : firstCommandAtMs - spawnedAtMs }
  } finally {
    for (const file of outputs) closeSync(file)
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL')
    await gone
  }
}

/** Refused and half answers count as no. */
function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    let held = ''
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(held.startsWith('HTTP/1.1 200 ') && held.includes('Hello World')))
    socket.on('connect', () => socket.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n'))
    socket.on('data', chunk => {
      held += chunk.toString('latin1')
      if (held.includes('Hello World')) socket.destroy()
    })
  })
}
