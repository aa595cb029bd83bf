// `npm start`: installs what is missing, then runs Waiter on the pinned Node in the foreground.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { join } from 'node:path'
import { ensureInstalled, pinnedNode, ROOT } from './lib/install.mjs'

ensureInstalled({ dev: false })

// The IPC channel tells the child when this process dies, however it dies: it then ends as well, and the next start
// adopts its instances.
const child = spawn(pinnedNode(), [join(ROOT, 'packages/server/src/main.ts'), ...process.argv.slice(2)], {
  stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
})
// A terminal sends Ctrl-C to the whole group; a supervisor sends it to us alone. The child counts a repeated signal
// only after a pause, so passing it on is safe in both cases.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('error', error => {
  console.error(`waiter: cannot start Node: ${error.message}`)
  process.exit(1)
})
child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
