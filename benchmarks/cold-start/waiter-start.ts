import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { connectRaw, type RawConnection, request, waitForLine, within } from '../../packages/testkit/src/index.ts'
import { announcing, nowMs, readFirstCommandMs } from './first-command.ts'

const START = fileURLToPath(new URL('../../scripts/start.mjs', import.meta.url))
/** A start takes a second; a busy machine may take some. */
const READY_MS_MAX = 30_000
/** Waiter stops what it started within its grace period of 5 s. */
const STOP_MS_MAX = 20_000
/** A cold start that takes longer has failed. */
const ANSWER_MS_MAX = 10_000
const WARM_REQUESTS = 5

/** One cold start through Waiter; times in milliseconds. */
export interface ColdStart {
  /** From the client's write to the moment right before the control process spawns the instance. */
  readonly spawnShareMs: number
  /** From there to the first passed health check. */
  readonly startMs: number
  /** From there to the first byte that the client receives: the backend's answering time is included. */
  readonly healthyToFirstByteMs: number
  /** From the client's write to the last byte of the response. */
  readonly wholeMs: number
  /** From the client's write to the first shell command of the instance. */
  readonly firstCommandMs: number | null
  /** The same request again, on the running instance: write to first byte. */
  readonly warmMs: readonly number[]
}

/** A Waiter of one node in processes of its own. */
export interface MeasuredWaiter {
  /** Makes a token for a command. */
  register(token: string, command: string): Promise<void>
  /** One cold start of a service that has never run before; the service is deleted afterwards. */
  coldStart(token: string, run: string): Promise<ColdStart>
  stop(): Promise<void>
}

/** Starts Waiter as `npm start` does; its log is in `<dataDir>/waiter-log`. */
export async function startMeasuredWaiter(dataDir: string, workers: string): Promise<MeasuredWaiter> {
  mkdirSync(dataDir, { recursive: true })
  const log = openSync(join(dataDir, 'waiter-log'), 'a')
  const child = spawn(
    process.execPath,
    [START, '--json', '--nodes', '1', '--port', '0', '--data-dir', dataDir, '--workers', workers],
    {
      stdio: ['ignore', 'pipe', log],
    },
  ) as ChildProcessByStdio<null, Readable, null>
  closeSync(log)
  try {
    const found = await waitForLine(child.stdout, /"routers":\["http:\/\/[^:"]+:(\d+)"/, { timeoutMs: READY_MS_MAX })
    child.stdout.resume()
    const port = Number(found[1])
    return {
      register: (token, command) => register(port, token, command),
      coldStart: (token, run) => coldStart(port, token, run),
      stop: () => stop(child),
    }
  } catch (cause) {
    await stop(child)
    throw new Error('Waiter did not start: run `npm start` to see why', { cause })
  }
}

async function register(port: number, token: string, command: string): Promise<void> {
  const description = { cmd: announcing(command), cpus: 0.1, mem: 256, version: '1', 'health-check-url': '/status' }
  const headers = { 'content-type': 'application/json' }
  const path = `/token?token=${token}`
  const { status, text } = await request({ port, method: 'POST', path, headers, body: JSON.stringify(description) })
  if (status !== 200) throw new Error(`could not register ${token}: ${status} ${text}`)
}

async function coldStart(port: number, token: string, run: string): Promise<ColdStart> {
  const connection = await connectRaw({ port })
  try {
    // An environment variable makes it a service of its own, one that has never run.
    const bytes =
      `GET / HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nx-waiter-token: ${token}\r\n` +
      `x-waiter-env-cold_start: ${run}\r\n\r\n`
    const cold = await exchange(connection, bytes)
    const warmMs: number[] = []
    while (warmMs.length < WARM_REQUESTS) {
      const { sentAtMs, firstByteAtMs } = await exchange(connection, bytes)
      warmMs.push(firstByteAtMs - sentAtMs)
    }
    const { serviceId, spawnedAtMs, healthyAtMs, directory } = await findInstance(port, run)
    const firstCommandAtMs = readFirstCommandMs(directory)
    await deleteService(port, serviceId)
    return {
      spawnShareMs: spawnedAtMs - cold.sentAtMs,
      startMs: healthyAtMs - spawnedAtMs,
      healthyToFirstByteMs: cold.firstByteAtMs - healthyAtMs,
      wholeMs: cold.lastByteAtMs - cold.sentAtMs,
      firstCommandMs: firstCommandAtMs === null ? null : firstCommandAtMs - cold.sentAtMs,
      warmMs,
    }
  } finally {
    connection.destroy()
  }
}

interface Exchange {
  readonly sentAtMs: number
  readonly firstByteAtMs: number
  readonly lastByteAtMs: number
}

async function exchange(connection: RawConnection, bytes: string): Promise<Exchange> {
  let firstByteAtMs = 0
  connection.socket.once('data', () => {
    firstByteAtMs = nowMs()
  })
  const sentAtMs = nowMs()
  connection.socket.write(bytes)
  const { status, body } = await connection.nextResponse({ timeoutMs: ANSWER_MS_MAX })
  const lastByteAtMs = nowMs()
  if (status !== 200 || !body.toString('latin1').startsWith('Hello World'))
    throw new Error(`expected Hello World, got ${status}: ${body.toString('utf8').slice(0, 500)}`)
  return { sentAtMs, firstByteAtMs, lastByteAtMs }
}

/** What the benchmark reads of `GET /apps` and `GET /apps/:id`. */
interface AppRow {
  readonly 'service-id': string
}
interface AppDetails {
  readonly instances: {
    readonly 'active-instances': readonly {
      readonly 'spawned-at-ms': number
      readonly 'healthy-at-ms': number
      readonly 'log-directory': string
    }[]
  }
}

async function findInstance(
  port: number,
  run: string,
): Promise<{ serviceId: string; spawnedAtMs: number; healthyAtMs: number; directory: string }> {
  const rows = (await get(port, `/apps?env.COLD_START=${run}`)) as AppRow[]
  const serviceId = rows[0]?.['service-id']
  if (serviceId === undefined || rows.length > 1) throw new Error(`${rows.length} services run instead of one`)
  const { instances } = (await get(port, `/apps/${serviceId}`)) as AppDetails
  const [instance, ...others] = instances['active-instances']
  if (instance === undefined || others.length > 0) throw new Error(`not one instance of ${serviceId} runs`)
  return {
    serviceId,
    spawnedAtMs: instance['spawned-at-ms'],
    healthyAtMs: instance['healthy-at-ms'],
    directory: instance['log-directory'],
  }
}

async function get(port: number, path: string): Promise<unknown> {
  const { status, text } = await request({ port, path })
  if (status !== 200) throw new Error(`GET ${path}: ${status} ${text}`)
  return JSON.parse(text)
}

async function deleteService(port: number, serviceId: string): Promise<void> {
  const { status, text } = await request({ port, method: 'DELETE', path: `/apps/${serviceId}` })
  if (status !== 200) throw new Error(`could not delete ${serviceId}: ${status} ${text}`)
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  await within(gone, 'the end of Waiter', { timeoutMs: STOP_MS_MAX }).catch(async error => {
    child.kill('SIGKILL')
    await gone
    throw error
  })
}
