import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { WaiterError } from '@waiter/base'
import { exitCodeOf } from '../../src/errors.ts'
import type { Io } from '../../src/io.ts'
import { printable } from '../../src/output/printable.ts'
import { runProgram } from '../../src/program.ts'

/** What `node_modules/.bin/waiter` is. */
export const BIN: string = fileURLToPath(new URL('../../bin/waiter.mjs', import.meta.url))
const COMMAND_MS_MAX = 60_000

/** How a command ended and what it printed. */
export interface Run {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** The command line as people run it, in a directory of its own. */
export interface CommandLine {
  readonly directory: string
  /** Nothing of the machine's own configuration is in it. */
  readonly environment: NodeJS.ProcessEnv
  /** Runs `waiter --url URL …`; an empty URL leaves the flag out. */
  run(args: readonly string[], options?: { stdin?: string; node?: string; url?: string }): Promise<Run>
  /** The same in this process, which takes a fraction of the time; its environment is that of the test. */
  runHere(args: readonly string[], options?: { stdin?: string; url?: string }): Promise<Run>
  /** Writes a file into the directory. @returns its name */
  file(name: string, content: unknown): string
  remove(): void
}

export function createCommandLine(defaultUrl: string): CommandLine {
  const directory = mkdtempSync(join(tmpdir(), 'waiter-cli-'))
  const { PATH } = process.env
  const environment = { PATH, HOME: directory }
  return {
    directory,
    environment,
    run: (args, { stdin = '', node = process.execPath, url = defaultUrl } = {}) => {
      const { promise, resolve } = Promise.withResolvers<Run>()
      const child = execFile(
        node,
        [BIN, ...(url === '' ? [] : ['--url', url]), ...args],
        { cwd: directory, env: environment, timeout: COMMAND_MS_MAX },
        (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
      )
      child.stdin?.end(stdin)
      return promise
    },
    runHere: async (args, { stdin = '', url = defaultUrl } = {}) => {
      const printed = { out: '', err: '' }
      const io: Io = {
        out: text => {
          printed.out += `${text}\n`
        },
        outBytes: async bytes => {
          printed.out += Buffer.from(bytes).toString()
        },
        err: text => {
          printed.err += `${printable(text)}\n`
        },
        style: (_, text) => text,
        readStdin: async () => stdin,
        workingDirectory: directory,
        homeDirectory: directory,
      }
      const words = [...(url === '' ? [] : ['--url', url]), ...args]
      const code = await runProgram(words, io).catch((error: unknown) => {
        if (!(error instanceof WaiterError)) throw error
        io.err(`waiter: ${error.message}`)
        return exitCodeOf(error)
      })
      return { code, stdout: printed.out, stderr: printed.err }
    },
    file: (name, content) => {
      writeFileSync(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content))
      return name
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  }
}

const CMD = `exec node -e "console.error('to stderr'); console.log('to stdout'); require('http').createServer((q, s) => {
  console.log('asked ' + q.url); if (q.url === '/end') process.exit(3); s.end('hi') }).listen(process.env.PORT0)"`

/** A service that says what it does. */
export const HELLO = {
  cmd: CMD,
  cpus: 0.1,
  mem: 128,
  version: '1',
  name: 'hello',
  'health-check-url': '/',
  env: { A: 's3cret' },
} as const
