/** `npm start`: a cluster on this machine, in the foreground, until Ctrl-C. The one place that prints to people. */
import { join } from 'node:path'
import { WaiterError } from '@waiter/base'
import { announceReady } from './announce.ts'
import { type RunningCluster, startCluster } from './cluster.ts'
import { loadSettings } from './config/load-settings.ts'
import { openDataDirectory } from './data-directory.ts'
import { createLogger, type LogTarget } from './logging.ts'
import { parseOptions, USAGE } from './options.ts'

/** A signal that comes again this soon is the same Ctrl-C, passed on by npm or the shell. */
const SAME_SIGNAL_MS = 500

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2))
  if (options === 'help') {
    process.stdout.write(USAGE)
    return
  }
  const settings = loadSettings(options.configFile, process.env)
  const data = openDataDirectory(options.dataDirectory)
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
    await cluster.stop(settings['shutdown-grace-ms'])
  })
  cluster = await starting
  announceReady(cluster, { isJson: options.isJson, data: data.paths })
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

main().catch((error: unknown) => {
  if (error instanceof WaiterError) process.stderr.write(`waiter: ${error.message}\n`)
  else {
    process.stderr.write('waiter: a bug kept Waiter from starting\n')
    console.error(error)
  }
  process.exit(1)
})
