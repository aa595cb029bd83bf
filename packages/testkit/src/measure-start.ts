import { spawn } from 'node:child_process'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { rawRequest } from './raw-client.ts'

/** How long a command needed from being spawned to its first `200`, over several runs. */
export interface StartTimes {
  readonly medianMs: number
  readonly minMs: number
  readonly maxMs: number
}

const START_MS_MAX = 20_000

/**
 * Starts `command` (which listens on `$PORT0`) `runs` times through `sh -c` and asks it, without pause, until it
 * answers 200.
 */
export async function measureStart(command: string, runs: number): Promise<StartTimes> {
  const times: number[] = []
  for (let run = 0; run < runs; run++) times.push(await measureOnce(command))
  times.sort((a, b) => a - b)
  const at = (share: number): number => times[Math.min(times.length - 1, Math.floor(times.length * share))] as number
  return { medianMs: at(0.5), minMs: at(0), maxMs: at(1) }
}

async function measureOnce(command: string): Promise<number> {
  const port = await freePort()
  const startedMs = performance.now()
  const child = spawn('/bin/sh', ['-c', command], {
    env: { ...process.env, PORT0: String(port) },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const gone = new Promise<void>(resolve => child.once('close', () => resolve()))
  let hasEnded = false
  void gone.then(() => {
    hasEnded = true
  })
  try {
    for (;;) {
      if (hasEnded) throw new Error(`the command ended before it answered: ${command}`)
      if (performance.now() - startedMs > START_MS_MAX) throw new Error(`no answer in time from: ${command}`)
      if (await answers(port)) return performance.now() - startedMs
      // Loopback refuses within microseconds: the loop must let the rest of the machine work.
      await new Promise(resolve => setTimeout(resolve, 1))
    }
  } finally {
    child.kill('SIGKILL')
    await gone
  }
}

async function answers(port: number): Promise<boolean> {
  try {
    const bytes = 'GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'
    const { responses } = await rawRequest({ port, bytes })
    return responses[0]?.status === 200
  } catch {
    return false
  }
}

/** A port that was free a moment ago. Only for programs that cannot choose and announce one themselves. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}
