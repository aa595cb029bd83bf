// `npm start`: installs what is missing, then runs Waiter on the pinned Node in the foreground.
import { join } from 'node:path'
import { runInForeground } from './lib/foreground.mjs'
import { ensureInstalled, ROOT } from './lib/install.mjs'

ensureInstalled({ dev: false })
runInForeground(join(ROOT, 'packages/server/src/main.ts'), process.argv.slice(2), { stdin: 'ignore' })
