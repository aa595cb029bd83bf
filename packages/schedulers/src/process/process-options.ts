import { randomInt } from 'node:crypto'
import type { InstanceId, Logger, Prng, ServiceId } from '@waiter/base'
import { createPrng, silentLogger } from '@waiter/base'
import { computeInstanceEnvironment, type ServiceDefinition } from '@waiter/services'
import type { Fence } from '../scheduler.ts'
import type { PortRange } from './port-pool.ts'
import { systemTimers, type Timers } from './timers.ts'

/** What an instance is given, for computing its environment. */
export interface InstanceSeat {
  readonly instanceId: InstanceId
  /** Address that other programs will be sent to. */
  readonly host: string
  readonly ports: readonly number[]
  /** Its private working directory. */
  readonly directory: string
  /** Password of the user `waiter`, which Waiter shows to the instance (`WAITER_PASSWORD`). */
  readonly password: string
}

/** How other hosts reach instances of this one. */
export interface InstanceNetwork {
  /** What others call: instances must accept connections there. */
  readonly advertise: string
  /** Where an instance is told to listen (`$HOST`); differs behind address translation, or when a name is advertised. */
  readonly listen: string
}

/** What the process scheduler can be told; everything but `dataDir` has a default. */
export interface ProcessSchedulerOptions {
  /** Where working directories and the scheduler's own files lie. One scheduler per directory at a time. */
  readonly dataDir: string
  /** Name of this scheduler in records and messages. Default `process`. */
  readonly name?: string
  /** The leadership that it is opened for: a directory of a higher one is refused (`WTR_FENCED`). Default: none. */
  readonly fence?: Fence
  /** Default: none can, and instances listen on the loopback interface. */
  readonly network?: InstanceNetwork
  readonly timers?: Timers
  /** Chance for ports, addresses and ids. Default: seeded from the operating system. */
  readonly prng?: Prng
  readonly log?: Logger
  /**
   * Environment of an instance (spec §2.5); default: `computeInstanceEnvironment` for a cluster called `waiter` and the
   * working directory as HOME. `PORT0`…, `WAITER_SANDBOX`, `MESOS_SANDBOX` and `MESOS_DIRECTORY` are added
   * by the scheduler, HOST (where to listen) unless given here, and PATH, LANG, LC_ALL, LC_CTYPE and TZ come from
   * Waiter's own environment unless given here.
   */
  readonly environmentFor?: (definition: ServiceDefinition, seat: InstanceSeat) => Readonly<Record<string, string>>
  /** Password of the user `waiter` towards a service. Default: empty. */
  readonly passwordFor?: (id: ServiceId) => string
  /** Default 10000–10999. */
  readonly portRange?: PortRange
  /** Rest of a port after use. Default 120 s. */
  readonly portQuarantineMs?: number
  /** Distance of memory checks. Default 1 s. */
  readonly memoryCheckIntervalMs?: number
  /** How soon the end of an adopted process is noticed. Default 200 ms. */
  readonly adoptedPollIntervalMs?: number
  /** Size at which stdout and stderr are rotated. Default 16 MiB. */
  readonly outputBytesMax?: number
  /** Starts in progress at once. Default 64. */
  readonly startsMax?: number
  /** Working directories that no record names any more (deleted services) are removed after this. Default 1 h. */
  readonly deletedDirectoryKeepMs?: number
  /** Default `/bin/bash`. */
  readonly shell?: string
}

/** Options with all defaults filled in. */
export type ResolvedProcessOptions = Required<Omit<ProcessSchedulerOptions, 'fence' | 'network'>> &
  Pick<ProcessSchedulerOptions, 'fence' | 'network'>

/** Fills in the defaults. */
export function resolveProcessOptions(options: ProcessSchedulerOptions): ResolvedProcessOptions {
  return {
    name: 'process',
    timers: systemTimers,
    prng: createPrng(randomInt(2 ** 32)),
    log: silentLogger,
    environmentFor: computePlainEnvironment,
    passwordFor: () => '',
    portRange: { first: 10_000, last: 10_999 },
    portQuarantineMs: 120_000,
    memoryCheckIntervalMs: 1000,
    adoptedPollIntervalMs: 200,
    outputBytesMax: 16 * 1024 * 1024,
    startsMax: 64,
    deletedDirectoryKeepMs: 3_600_000,
    shell: '/bin/bash',
    ...options,
  }
}

/** The variables of spec §2.5, for a cluster that nobody has named. */
function computePlainEnvironment(definition: ServiceDefinition, seat: InstanceSeat): Readonly<Record<string, string>> {
  const { ports, directory: home, password } = seat
  return computeInstanceEnvironment({ definition, clusterName: 'waiter', password, home, ports })
}

/** What instances get of Waiter's own environment: nothing that could hold a secret. */
const INHERITED_NAMES = ['PATH', 'LANG', 'LC_ALL', 'LC_CTYPE', 'TZ'] as const
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** The whole environment of one instance, in the order of increasing right: inherited, the service's, the seat's. */
export function computeEnvironment(
  options: ResolvedProcessOptions,
  definition: ServiceDefinition,
  seat: InstanceSeat,
): Record<string, string> {
  const inherited: Record<string, string> = { PATH: DEFAULT_PATH }
  for (const name of INHERITED_NAMES) {
    const value = process.env[name]
    if (value !== undefined) inherited[name] = value
  }
  const ports = Object.fromEntries(seat.ports.map((port, index) => [`PORT${index}`, String(port)]))
  return {
    ...inherited,
    HOST: options.network?.listen ?? seat.host,
    ...options.environmentFor(definition, seat),
    ...ports,
    WAITER_SANDBOX: seat.directory,
    MESOS_SANDBOX: seat.directory,
    MESOS_DIRECTORY: seat.directory,
  }
}
