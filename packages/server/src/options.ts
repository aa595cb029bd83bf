import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { WaiterError } from '@waiter/base'
import type { Override } from './config/environment.ts'

/** What the command line asks for; everything else is configuration. */
export interface StartOptions {
  readonly nodes: number
  /** Router processes of each node. Absent: configuration. */
  readonly workers: number | 'auto' | undefined
  /** The first router's port; the next routers take the following ones. 0: the system chooses. Absent: configuration. */
  readonly port: number | undefined
  /** Where clients are listened to. Absent: configuration. */
  readonly host: string | undefined
  /** What other hosts call this one. Absent: configuration. */
  readonly advertise: string | undefined
  /** The first port for other nodes. Absent: configuration. */
  readonly clusterPort: number | undefined
  readonly dataDirectory: string
  readonly configFile: string | undefined
  readonly isJson: boolean
}

const DEFAULT_COMMAND = 'npm start --'

/** What `--help` prints. */
export function renderUsage(command: string = DEFAULT_COMMAND): string {
  return `Usage: ${command} [options]

  --nodes N        nodes to start on this machine (default 3; see docs/operations.md)
  --workers N      router processes of each node, sharing its port; auto: one per core, at most 8 (default auto)
  --port P         port of the first router; the next routers take the following ports (default 9091)
  --host ADDR      address on which routers listen (default 127.0.0.1; 0.0.0.0 lets others in)
  --advertise ADDR address or name of this host for nodes of other hosts (default: none can reach it)
  --cluster-port P first port for nodes of other hosts (default 9190 with --advertise)
  --data-dir DIR   tokens, instances and logs live here (default .waiter)
  --config FILE    YAML configuration
  --json           print one line of JSON when ready; logs go to stderr
  --help           this text
`
}

const NODES_MAX = 9
/** One may fail, whatever it has to do. */
const NODES_DEFAULT = '3'
const WORKERS_MAX = 64
const PORT_MAX = 65_535
const CLUSTER_PORT_MAX = 64_000

/**
 * Reads the command line.
 *
 * @returns 'help' when the user asks for it
 * @throws WaiterError WTR_USAGE with the mend
 */
export function parseOptions(args: readonly string[], command = DEFAULT_COMMAND): StartOptions | 'help' {
  const values = parseOrExplain(args, command)
  if (values.help) return 'help'
  const port = values.port === undefined ? undefined : wholeNumber('--port', values.port, 0, PORT_MAX)
  return {
    nodes: wholeNumber('--nodes', values.nodes ?? NODES_DEFAULT, 1, NODES_MAX),
    workers: parseWorkers(values.workers),
    port,
    host: values.host,
    advertise: values.advertise,
    clusterPort:
      values['cluster-port'] === undefined
        ? undefined
        : wholeNumber('--cluster-port', values['cluster-port'], 0, CLUSTER_PORT_MAX),
    dataDirectory: resolve(values['data-dir'] ?? '.waiter'),
    configFile: values.config === undefined ? undefined : resolve(values.config),
    isJson: values.json ?? false,
  }
}

/** Keys of the configuration that options set: the command line counts more than file and environment. */
export function overridesOf({ host, advertise, clusterPort }: StartOptions): readonly Override[] {
  const all: Override[] = [
    { variable: '--host', path: ['host'], value: host },
    { variable: '--advertise', path: ['cluster-config', 'advertise'], value: advertise },
    { variable: '--cluster-port', path: ['cluster-config', 'port'], value: clusterPort },
  ]
  return all.filter(({ value }) => value !== undefined)
}

function parseOrExplain(args: readonly string[], command: string) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        nodes: { type: 'string' },
        workers: { type: 'string' },
        port: { type: 'string' },
        host: { type: 'string' },
        advertise: { type: 'string' },
        'cluster-port': { type: 'string' },
        'data-dir': { type: 'string' },
        config: { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values
  } catch (error) {
    throw new WaiterError(`${(error as Error).message.split('\n')[0]}\n${renderUsage(command)}`, { code: 'WTR_USAGE' })
  }
}

function parseWorkers(text: string | undefined): StartOptions['workers'] {
  if (text === undefined || text === 'auto') return text
  return wholeNumber('--workers', text, 1, WORKERS_MAX)
}

function wholeNumber(option: string, text: string, min: number, max: number): number {
  const value = Number(text)
  if (/^\d{1,6}$/.test(text) && value >= min && value <= max) return value
  throw new WaiterError(`${option} takes a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`, {
    code: 'WTR_USAGE',
  })
}
