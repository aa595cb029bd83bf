import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { WaiterError } from '@waiter/base'
import type { Override } from './config/environment.ts'
import { HOST_NAME } from './host.ts'

/** What the command line asks for; everything else is configuration. */
export interface StartOptions {
  /** Absent: three, or one on a host that joined. */
  readonly nodes: number | undefined
  /** Router processes of each node. Absent: configuration. */
  readonly workers: number | 'auto' | undefined
  /** The first router's port; the next routers take the following ones. 0: the system chooses. Absent: configuration. */
  readonly port: number | undefined
  /** Where clients are listened to. Absent: configuration. */
  readonly host: string | undefined
  /** What other hosts call this one. Absent: configuration. */
  readonly advertise: string | undefined
  /** What the names of this host's nodes begin with. Absent: `node`, or what the host was given when it joined. */
  readonly name: string | undefined
  /** `host:port` of control nodes of the cluster to join; empty: none. */
  readonly join: readonly string[]
  /** A copy of the cluster's secret. */
  readonly secretFile: string | undefined
  /** What its nodes are. */
  readonly roles: 'both' | 'router'
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

  --nodes N        nodes to start on this machine (default 3, 1 with --join; see docs/operations.md)
  --workers N      router processes of each node, sharing its port; auto: one per core, at most 8 (default auto)
  --port P         port of the first router; the next routers take the following ports (default 9091)
  --host ADDR      address on which routers listen (default 127.0.0.1; 0.0.0.0 lets others in)
  --advertise ADDR address or name of this host for nodes of other hosts (default: none can reach it)
  --cluster-port P first port for nodes of other hosts (default 9190 with --advertise)
  --join H:P       control node of a cluster to join, by its gRPC address; may be repeated
  --secret-file F  copy of the file cluster-secret of a host of that cluster
  --name NAME      what names of this host's nodes begin with (default node, or node- and its id with --join)
  --roles ROLES    control,router (default), or router: without a vote
  --data-dir DIR   tokens, instances and logs live here (default .waiter)
  --config FILE    YAML configuration
  --json           print one line of JSON when ready; logs go to stderr
  --help           this text
`
}

const NODES_MAX = 9
/** One may fail, whatever it has to do. */
export const NODES_DEFAULT = 3
/** Seeds to ask; more would not help. */
const SEEDS_MAX = 16
const WORKERS_MAX = 64
const SEED = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[1-9]\d{0,4}$/
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
    nodes: values.nodes === undefined ? undefined : wholeNumber('--nodes', values.nodes, 1, NODES_MAX),
    workers: parseWorkers(values.workers),
    port,
    host: values.host,
    advertise: values.advertise,
    name: parseName(values.name),
    join: parseSeeds(values.join ?? []),
    secretFile: values['secret-file'] === undefined ? undefined : resolve(values['secret-file']),
    roles: parseRoles(values.roles),
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
        name: { type: 'string' },
        join: { type: 'string', multiple: true },
        'secret-file': { type: 'string' },
        roles: { type: 'string' },
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

function parseName(text: string | undefined): string | undefined {
  if (text === undefined || HOST_NAME.test(text)) return text
  throw usage(`--name takes letters, digits, dots, dashes and underscores, at most 64, not ${JSON.stringify(text)}`)
}

function parseSeeds(seeds: readonly string[]): readonly string[] {
  for (const seed of seeds)
    if (!SEED.test(seed))
      throw usage(`--join takes HOST:PORT of a control node, such as 10.0.0.1:9190, not ${JSON.stringify(seed)}`)
  if (seeds.length > SEEDS_MAX) throw usage(`--join may be given ${SEEDS_MAX} times`)
  return seeds
}

function parseRoles(text = 'control,router'): StartOptions['roles'] {
  if (text === 'router') return 'router'
  if (text === 'control,router' || text === 'router,control') return 'both'
  throw usage(`--roles takes control,router or router, not ${JSON.stringify(text)}`)
}

function usage(message: string): WaiterError {
  return new WaiterError(message, { code: 'WTR_USAGE' })
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
