// Runs on the machine's own Node (20 or newer): plain JavaScript, no dependencies.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { cachingEnvironment, pinnedNode } from './install.mjs'

/**
 * Runs a program of this project on the pinned Node in the foreground and ends as it does.
 *
 * @param {string} program a TypeScript file
 * @param {string[]} args
 * @param {{ stdin: 'ignore' | 'inherit' }} options
 */
export function runInForeground(program, args, { stdin }) {
  // The IPC channel tells the child when this process dies, however it dies: a Waiter then ends as well, and the next
  // start adopts its instances.
  const child = spawn(pinnedNode(), [program, ...args], {
    env: cachingEnvironment(),
    stdio: [stdin, 'inherit', 'inherit', 'ipc'],
  })
  // A terminal sends Ctrl-C to the whole group; a supervisor sends it to us alone. The child counts a repeated signal
  // only after a pause, so passing it on is safe in both cases.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', error => {
    console.error(`waiter: cannot start Node: ${error.message}`)
    process.exit(1)
  })
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
}
