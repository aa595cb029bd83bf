import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitForLine } from './wait.ts'

/** A kitchen in a process of its own. */
export interface StartedKitchen {
  readonly port: number
  readonly pid: number
  /** `http://127.0.0.1:<port>` (`https` with TLS flags). */
  readonly url: string
  /** Resolves with the exit code, or the name of the signal, however the process ended. */
  readonly exited: Promise<number | string>
  /** Ends the process and waits until it is gone. */
  stop(): Promise<void>
}

/** What the process is started with. */
export interface StartKitchenOptions {
  /** Flags for the kitchen; by default it listens on 127.0.0.1 at a port the system chooses. */
  readonly args?: readonly string[]
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>
}

const MAIN = fileURLToPath(new URL('kitchen/main.ts', import.meta.url))

/** Longer than any start on a busy machine; only a hung process waits for it. */
const START_MS_MAX = 20_000

/**
 * Starts a kitchen and waits until it listens.
 *
 * @throws {Error} with what the kitchen printed, when it ends instead
 */
export async function startKitchen(options: StartKitchenOptions = {}): Promise<StartedKitchen> {
  const child = spawn(process.execPath, [MAIN, '--port', '0', '--hostname', '127.0.0.1', ...(options.args ?? [])], {
    env: { ...process.env, NODE_COMPILE_CACHE: compileCacheDirectory(), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = new Promise<number | string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'))
  })
  let complaints = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-COMPLAINT_CHARS_MAX)
  })
  const line = waitForLine(child.stdout, /listening on (https?:\/\/\S+:(\d+))/, { timeoutMs: START_MS_MAX })
  const died = exited.then(how => {
    throw new Error(`the kitchen ended (${how}) instead of listening: ${complaints}`)
  })
  try {
    // When the output ends without the line, the exit tells more.
    const found = await Promise.race([line.catch(() => died), died])
    // After the first line the output is of no interest, but must flow, or the kitchen blocks.
    child.stdout.resume()
    return {
      port: Number(found[2]),
      pid: child.pid as number,
      url: found[1] as string,
      exited,
      stop: async () => {
        child.kill('SIGKILL')
        await exited
      },
    }
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  } finally {
    died.catch(() => undefined)
    line.catch(() => undefined)
  }
}

const COMPLAINT_CHARS_MAX = 10_000

/**
 * A shell command line for service descriptions: a kitchen that listens on `$PORT0`, on all interfaces.
 *
 * @param flags appended as they are; the caller quotes
 */
export function kitchenCommand(flags = ''): string {
  const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`
  const environment = `env NODE_COMPILE_CACHE=${quote(compileCacheDirectory())}`
  const command = `exec ${environment} ${quote(process.execPath)} ${quote(MAIN)} --port $PORT0`
  return flags === '' ? command : `${command} ${flags}`
}

/** Node keeps compiled code and stripped types here: that halves the kitchen's start. */
function compileCacheDirectory(): string {
  return join(tmpdir(), `waiter-kitchen-cache-${process.getuid?.() ?? 'user'}`)
}
