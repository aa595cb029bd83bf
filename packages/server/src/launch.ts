import { join } from 'node:path'
import { WaiterError } from '@waiter/base'
import { announceReady } from './announce.ts'
import { type RunningCluster, startCluster } from './cluster.ts'
import { loadSettings } from './config/load-settings.ts'
import { openDataDirectory } from './data-directory.ts'
import { noteLeft } from './host.ts'
import { createLogger, type LogTarget } from './logging.ts'
import { overridesOf, parseOptions, renderUsage } from './options.ts'

/** A signal that comes again this soon is the same Ctrl-C, passed on by npm or the shell. */
const SAME_SIGNAL_MS = 500
/** As the rest of the command line does for what it cannot understand. */
const EXIT_USAGE = 2

/** How whoever launches it is called, for the text of `--help`. */
export interface LaunchOptions {
  /** For example `npm start --`. */
  readonly command: string
}

/**
 * `npm start`, `waiter up`: a cluster on this machine, in the foreground, until Ctrl-C. Takes over the process: its
 * signals, its output, its end. The one place of the server that prints to people.
 */
export async function launch(args: readonly string[], { command }: LaunchOptions): Promise<void> {
  try {
    await run(args, command)
  } catch (error) {
    if (error instanceof WaiterError) {
      process.stderr.write(`waiter: ${error.message}\n`)
      process.exit(error.code === 'WTR_USAGE' ? EXIT_USAGE : 1)
    }
    process.stderr.write('waiter: a bug kept Waiter from starting\n')
    console.error(error)
    process.exit(1)
  }
}

async function run(args: readonly string[], command: string): Promise<void> {
  const options = parseOptions(args, command)
  if (options === 'help') {
    process.stdout.write(renderUsage(command))
    return
  }
  const settings = loadSettings(options.configFile, process.env, overridesOf(options))
  const hasSecret = settings['password-store-config'].configured.passwords.length > 0
  const data = openDataDirectory(options.dataDirectory, {
    secretFile: options.secretFile,
    isShared: options.join.length > 0 && !hasSecret,
  })
  process.on('exit', () => data.release())
  const logTarget: LogTarget = options.isJson
    ? { kind: 'stderr' }
    : { kind: 'file', path: join(data.paths.logs, 'waiter.log'), bytesMax: settings.log['file-bytes-max'] }
  const log = createLogger('waiter', settings.log.level, logTarget)
  if (!options.isJson) process.stdout.write(`Starting Waiter in ${data.paths.path} …\n`)

  let cluster: RunningCluster | undefined
  const starting = startCluster({ options, settings, data, logTarget, log })
  // Whoever started us is gone (killed, not stopped): leave at once, as if killed too. Instances are adopted next time.
  process.on('disconnect', () => process.exit(1))
  stopOnSignal(async () => {
    if (!options.isJson) process.stdout.write('\nStopping Waiter and what it started (Ctrl-C again: at once) …\n')
    cluster ??= await starting
    if (!options.isJson && cluster.moveMs > 0)
      process.stdout.write(
        `What runs here is started on other hosts first, for at most ${cluster.moveMs / 1_000} s …\n`,
      )
    await cluster.stop(settings['shutdown-grace-ms'])
  })
  cluster = await starting
  announceReady(cluster, { isJson: options.isJson, data: data.paths })
  await cluster.left
  noteLeft(data.paths.host)
  process.stderr.write('waiter: this host has left the cluster; its Waiter ends\n')
  await cluster.stop(settings['shutdown-grace-ms'])
  process.exit(0)
}

/** The first signal stops with grace; a second one, later, at once. */
function stopOnSignal(stop: () => Promise<void>): void {
  let firstAtMs = 0
  const onSignal = (): void => {
    if (firstAtMs === 0) {
      firstAtMs = performance.now()
      stop().then(
        () => process.exit(0),
        () => process.exit(1),
      )
    } else if (performance.now() - firstAtMs > SAME_SIGNAL_MS) process.exit(1)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
}
