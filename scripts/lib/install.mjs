// Runs on the machine's own Node (20 or newer), before anything is installed: plain JavaScript, no dependencies.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
/** Type stripping without a flag, `listen({ reusePort })` and `using` need this. */
const OLDEST_NODE = [24, 12]

/**
 * Installs what the lock file names unless it is there already. Says what it does on stderr.
 *
 * @param {{ dev: boolean }} options dev: also the tools for tests and checks
 */
export function ensureInstalled({ dev }) {
  const missing = missingPackages({ dev })
  if (missing.length === 0) return
  const seconds = dev ? 'half a minute' : 'some seconds'
  console.error(`waiter: installing ${missing.length} packages into node_modules (${seconds}) …`)
  // Not `npm ci`: it refuses a lock file without the packages of other platforms, and not every registry has those.
  // `install --no-save` takes the locked versions and leaves the lock file alone.
  const args = [
    'install',
    '--no-save',
    '--loglevel=error',
    '--no-audit',
    '--no-fund',
    // Without the tools npm would remove those that are there already.
    dev || hasTools() ? '--include=dev' : '--omit=dev',
  ]
  const npmCli = process.env.npm_execpath
  const [command, ...head] = npmCli?.endsWith('.js') ? [process.execPath, npmCli] : ['npm']
  const result = spawnSync(command, [...head, ...args], { cwd: ROOT, stdio: ['ignore', 2, 2] })
  if (result.status !== 0) {
    console.error(
      'waiter: npm install failed (see above). Is the npm registry reachable? Then run the same command again.',
    )
    process.exit(1)
  }
  console.error('waiter: installed.')
}

/** The Node that the project pins; else the one that runs us, when it is new enough. */
export function pinnedNode() {
  const pinned = join(ROOT, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node')
  if (existsSync(pinned)) return pinned
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return process.execPath
  console.error(
    `waiter: needs Node ${OLDEST_NODE.join('.')} or newer; this is ${process.versions.node} and no pinned Node is packaged ` +
      `for ${process.platform}-${process.arch}. Install Node 24 and run the same command again.`,
  )
  process.exit(1)
}

/** The environment of a child that shall find the pinned Node and the project's tools first. */
export function toolEnvironment() {
  const bin = join(ROOT, 'node_modules', '.bin')
  return { ...cachingEnvironment(), PATH: `${bin}:${process.env.PATH ?? ''}` }
}

/**
 * The environment of a child that keeps what Node makes of each source file (stripped of types, compiled) for the next
 * process. Node checks it against the source; where the folder cannot be written, it does without.
 */
export function cachingEnvironment() {
  return { NODE_COMPILE_CACHE: join(ROOT, 'node_modules', '.cache', 'node-compile'), ...process.env }
}

/** Has somebody who works on the project installed its tools? */
function hasTools() {
  const present = readJson(join(ROOT, 'node_modules', '.package-lock.json'))?.packages ?? {}
  return Object.values(present).some(entry => entry.dev)
}

/** What the lock file wants and npm's record of node_modules does not have at that version. */
function missingPackages({ dev }) {
  const wanted = readJson(join(ROOT, 'package-lock.json'))?.packages ?? {}
  const present = readJson(join(ROOT, 'node_modules', '.package-lock.json'))?.packages ?? {}
  return Object.entries(wanted)
    .filter(([path, entry]) => path.startsWith('node_modules/') && !entry.optional && (dev || !entry.dev))
    .filter(([path, entry]) => present[path]?.version !== entry.version || !existsSync(join(ROOT, path)))
    .map(([path]) => path)
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}
