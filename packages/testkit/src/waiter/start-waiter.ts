import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { request, type TestRequest, type TestResponse } from '../request.ts'
import { eventually, within } from '../wait.ts'
import { type ClaimedPorts, claimPorts } from './claim-ports.ts'
import { type Guard, startGuard } from './guard.ts'
import { type ListedProcess, listProcesses } from './processes.ts'

/** How a Waiter is started. */
export interface StartWaiterOptions {
  /** Added to `--json --port 0 --data-dir … --config …`, and to `--nodes 1` unless they name another number. */
  readonly args?: readonly string[]
  /** As many nodes as a user gets who does not say how many; most tests need one, which starts sooner. */
  readonly hasDefaultNodes?: boolean
  /**
   * Configuration, as an object (JSON is YAML). A port range of its own for instances is added, and one worker for each
   * node unless it says another number: what a request meets does not depend on the machine then.
   */
  readonly config?: Readonly<Record<string, unknown>>
  /** An existing one, to start again on it; by default a temporary one that goes with the Waiter. */
  readonly dataDirectory?: string
  /** Through `npm start --` instead of `node scripts/start.mjs`. */
  readonly viaNpm?: boolean
}

/** The line that `--json` prints. */
export interface ReadyLine {
  readonly ready: true
  readonly routers: readonly string[]
  readonly pid: number
  readonly nodes: readonly {
    readonly id: string
    readonly pid: number
    readonly roles: readonly string[]
    readonly http: string
    /** With TLS only. */
    readonly https?: string
    readonly grpc: string
  }[]
}

/** A Waiter in processes of its own, as a user has it. */
export interface StartedWaiter extends AsyncDisposable {
  readonly ready: ReadyLine
  /** Of the first router. */
  readonly url: string
  readonly port: number
  /** One for each router. */
  readonly ports: readonly number[]
  /** Of the launcher. */
  readonly pid: number
  readonly nodes: ReadyLine['nodes']
  readonly dataDirectory: string
  /** Everything printed so far. */
  stdout(): string
  /** The last 4 MiB of stderr, which is where the logs go. */
  log(): string
  /** Waiter's own processes of one role, in all nodes. */
  processes(role: 'control' | 'router'): readonly ListedProcess[]
  /** What runs of instances of this data directory, children of theirs included. */
  instanceProcesses(): readonly ListedProcess[]
  /** A request to the first router, or to another by `port`; given up after 60 s. */
  request(wanted: Omit<TestRequest, 'port'> & { readonly port?: number }): Promise<TestResponse>
  /** `GET path` of Waiter's API as JSON; throws unless 200. */
  // biome-ignore lint/suspicious/noExplicitAny: tests read answers of many shapes; a wrong guess fails the test.
  api(path: string, port?: number): Promise<any>
  /** Ctrl-C: a signal to the whole group, as a terminal sends it. Resolves with exit code or signal when it is gone. */
  interrupt(signal?: NodeJS.Signals): Promise<number | string>
  /** Resolves with exit code or signal when it has ended by itself, as it was meant to. */
  ended(): Promise<number | string>
  /** Kills every process of Waiter at once. Instances go on; the data directory stays for another start. */
  kill9(): Promise<void>
  /**
   * Ends it (Ctrl-C, unless it has ended) with all instances and removes the data directory if it was temporary.
   *
   * @throws {Error} with the log, when it did not end well, left something running, or logged a bug
   */
  stop(): Promise<void>
}

const START_SCRIPT = fileURLToPath(new URL('../../../../scripts/start.mjs', import.meta.url))
const ROOT = fileURLToPath(new URL('../../../../', import.meta.url))

/** A start takes a second; on a machine that does other things as well it may take some more. */
const START_MS_MAX = 90_000
/** Beyond the configured grace of 5 s, the launcher's slack, and what a busy machine adds. */
const STOP_MS_MAX = 40_000
const REQUEST_MS_MAX = 60_000
const LOG_CHARS_MAX = 4 * 1024 * 1024

/**
 * Starts Waiter and waits until it is ready. Whatever becomes of the test, nothing is left behind: `stop()` checks,
 * and a guard process cleans up when the test dies.
 *
 * @throws {Error} with what it printed, when it does not get ready
 */
export async function startWaiter(options: StartWaiterOptions = {}): Promise<StartedWaiter> {
  const isOwn = options.dataDirectory === undefined
  const dataDirectory = options.dataDirectory ?? mkdtempSync(join(tmpdir(), 'waiter-test-'))
  mkdirSync(dataDirectory, { recursive: true })
  const configFile = join(dataDirectory, 'test-config.yaml')
  // Started again, it keeps its configuration unless told otherwise, and its ports: they are given back with the
  // directory, or at the end of the test.
  const isConfigured = options.config === undefined && existsSync(configFile)
  const ports = isConfigured ? undefined : await claimPorts()
  if (ports !== undefined) writeFileSync(configFile, JSON.stringify(withDefaults(options.config ?? {}, ports)))
  const nodes = options.hasDefaultNodes === true ? [] : ['--nodes', '1']
  const where = ['--port', '0', '--data-dir', dataDirectory, '--config', configFile]
  const args = ['--json', ...nodes, ...where, ...(options.args ?? [])]
  const guard = startGuard(dataDirectory, isOwn)
  const life = spawnWaiter(args, options.viaNpm === true)
  try {
    const ready = await within(readyLine(life), 'Waiter to get ready', { timeoutMs: START_MS_MAX })
    const removeOwn = (): void => {
      if (!isOwn) return
      rmSync(dataDirectory, { recursive: true, force: true, maxRetries: 5 })
      ports?.release()
    }
    return createHandle({ ready, life, dataDirectory, removeOwn, guard })
  } catch (error) {
    signalGroup(life, 'SIGKILL')
    await life.exited
    killInstances(dataDirectory)
    guard.dismiss()
    if (isOwn) rmSync(dataDirectory, { recursive: true, force: true })
    throw new Error(`Waiter did not start: ${(error as Error).message}\n${life.output()}`, { cause: error })
  }
}

/** What a start that is meant to fail, or to print something and end, left behind. */
export interface WaiterRun {
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

/** Runs `node scripts/start.mjs` with exactly these arguments to its end. */
export async function runWaiter(args: readonly string[]): Promise<WaiterRun> {
  const directory = args[args.indexOf('--data-dir') + 1]
  const guard = args.includes('--data-dir') && directory !== undefined ? startGuard(directory, false) : undefined
  const life = spawnWaiter(args, false)
  try {
    const code = await within(life.exited, `the end of a Waiter started with ${args.join(' ')}`, {
      timeoutMs: START_MS_MAX,
    })
    return { code, stdout: life.stdout(), stderr: life.stderr() }
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${life.output()}`, { cause: error })
  } finally {
    signalGroup(life, 'SIGKILL')
    guard?.dismiss()
  }
}

interface Life {
  readonly child: ChildProcess
  readonly exited: Promise<number | string>
  stdout(): string
  stderr(): string
  output(): string
}

function spawnWaiter(args: readonly string[], viaNpm: boolean): Life {
  const [command, ...words] = viaNpm ? ['npm', 'start', '--'] : [process.execPath, START_SCRIPT]
  const child = spawn(command as string, [...words, ...args], {
    cwd: ROOT,
    detached: true, // a group of its own, so that signals reach it as a terminal's do
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (piece: string) => {
      text[name] = (text[name] + piece).slice(-LOG_CHARS_MAX)
    })
  }
  const exited = new Promise<number | string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'))
  })
  return {
    child,
    exited,
    stdout: () => text.stdout,
    stderr: () => text.stderr,
    output: () => `--- stdout\n${text.stdout}\n--- stderr (end)\n${text.stderr.slice(-OUTPUT_SHOWN_CHARS)}`,
  }
}

/** As much of the log as a failing test shows. */
const OUTPUT_SHOWN_CHARS = 6_000

async function readyLine(life: Life): Promise<ReadyLine> {
  const firstLine = new Promise<string>(resolve => {
    const look = (): void => {
      const end = life.stdout().indexOf('\n')
      if (end >= 0) resolve(life.stdout().slice(0, end))
    }
    life.child.stdout?.on('data', look)
    look()
  })
  const died = life.exited.then(how => Promise.reject(new Error(`it ended (${how})`)))
  return JSON.parse(await Promise.race([firstLine, died])) as ReadyLine
}

interface HandleParts {
  readonly ready: ReadyLine
  readonly life: Life
  readonly dataDirectory: string
  /** The directory, if it was made for this Waiter alone, and what goes with it. */
  removeOwn(): void
  readonly guard: Guard
}

function createHandle({ ready, life, dataDirectory, removeOwn, guard }: HandleParts): StartedWaiter {
  const ports = ready.routers.map(url => Number(new URL(url).port))
  const port = ports[0] as number
  const send: StartedWaiter['request'] = wanted =>
    request({ port, signal: AbortSignal.timeout(REQUEST_MS_MAX), ...wanted })
  let isStopped = false
  let isEndWanted = false
  const handle: StartedWaiter = {
    ready,
    url: ready.routers[0] as string,
    port,
    ports,
    pid: ready.pid,
    nodes: ready.nodes,
    dataDirectory,
    stdout: life.stdout,
    log: life.stderr,
    processes: role => findOwn(ready.pid, `${role}-main.ts`),
    instanceProcesses: () => findInstances(dataDirectory),
    request: send,
    api: async (path, routerPort) => {
      const answer = await send({ path, ...(routerPort === undefined ? {} : { port: routerPort }) })
      if (answer.status !== 200) throw new Error(`GET ${path} answered ${answer.status}: ${answer.text}`)
      return JSON.parse(answer.text) as unknown
    },
    interrupt: async (signal = 'SIGINT') => {
      isEndWanted = true
      signalGroup(life, signal)
      return await within(life.exited, `the end of Waiter after ${signal}`, { timeoutMs: STOP_MS_MAX })
    },
    ended: async () => {
      isEndWanted = true
      return await within(life.exited, 'Waiter to end by itself', { timeoutMs: STOP_MS_MAX })
    },
    kill9: async () => {
      isEndWanted = true
      signalGroup(life, 'SIGKILL')
      await life.exited
      const isOwn = ({ group }: ListedProcess): boolean => group === life.child.pid
      await eventually(() => !listProcesses().some(isOwn) || undefined, 'all processes of Waiter to be gone')
    },
    stop: async () => {
      if (isStopped) return
      isStopped = true
      try {
        await endWell(handle, life, isEndWanted)
      } finally {
        signalGroup(life, 'SIGKILL')
        await life.exited
        killInstances(dataDirectory)
        guard.dismiss()
        removeOwn()
      }
    },
    [Symbol.asyncDispose]: () => handle.stop(),
  }
  return handle
}

async function endWell(handle: StartedWaiter, life: Life, isEndWanted: boolean): Promise<void> {
  const problems: string[] = []
  const { exitCode, signalCode } = life.child
  if (exitCode !== null || signalCode !== null) {
    if (!isEndWanted) problems.push(`it ended by itself (${signalCode ?? exitCode})`)
  } else {
    const how = await handle.interrupt().catch((error: Error) => error.message)
    if (how !== 0) problems.push(`Ctrl-C ended it with ${how}`)
    const left = findInstances(handle.dataDirectory)
    if (left.length > 0) problems.push(`left running: ${left.map(({ pid, words }) => `${pid} ${words.join(' ')}`)}`)
  }
  if (life.stderr().includes('"a bug')) problems.push('a process crashed')
  if (problems.length > 0) throw new Error(`Waiter did not end well: ${problems.join('; ')}\n${life.output()}`)
}

/** To the whole group; nothing happens when it is gone. */
function signalGroup({ child }: Life, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal)
  } catch {
    // Gone already.
  }
}

/** Descendants of the launcher that run a file of this name. */
function findOwn(launcherPid: number, file: string): ListedProcess[] {
  const all = listProcesses()
  const family = new Set([launcherPid])
  for (let size = 0; size !== family.size; ) {
    size = family.size
    for (const { pid, parentPid } of all) if (family.has(parentPid)) family.add(pid)
  }
  return all.filter(({ pid, words }) => family.has(pid) && words.some(word => word.endsWith(file)))
}

function findInstances(dataDirectory: string): ListedProcess[] {
  return listProcesses().filter(({ sandbox }) => sandbox?.startsWith(`${dataDirectory}/`))
}

function killInstances(dataDirectory: string): void {
  if (!existsSync(dataDirectory)) return
  for (const { pid } of findInstances(dataDirectory)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // Ended by itself meanwhile.
    }
  }
}

function withDefaults(config: Readonly<Record<string, unknown>>, ports: ClaimedPorts): Record<string, unknown> {
  const scheduler = (config['scheduler-config'] ?? {}) as { readonly process?: Readonly<Record<string, unknown>> }
  return {
    workers: 1,
    ...config,
    'scheduler-config': { ...scheduler, process: { 'port-range': [ports.first, ports.last], ...scheduler.process } },
  }
}
