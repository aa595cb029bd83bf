#!/usr/bin/env node
// `waiter`: runs on the machine's own Node (20 or newer) and hands over to the pinned one. Plain JavaScript.
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { runInForeground } from '../../../scripts/lib/foreground.mjs'
import { ensureInstalled, pinnedNode, ROOT } from '../../../scripts/lib/install.mjs'

ensureInstalled({ dev: false })
const program = join(ROOT, 'packages/cli/src/main.ts')
if (realpathSync(pinnedNode()) === realpathSync(process.execPath)) await import(pathToFileURL(program).href)
else runInForeground(program, process.argv.slice(2), { stdin: 'inherit' })
