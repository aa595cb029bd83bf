/** The process under measurement: a leader as a control process runs it, before a scheduler that starts nothing. */
import { silentLogger } from '@waiter/base'
import {
  CoordinatorServiceService,
  createCoordinatorHandlers,
  createNodeAuth,
  Leader,
  startRpcServer,
  systemClock,
} from '@waiter/control'
import {
  DEFAULT_BROKEN_SERVICE,
  DEFAULT_SCALE_LIMITS,
  DEFAULT_TAKEOVER,
  type ScalingPolicy,
  waiterPolicy,
} from '@waiter/scaling'
import { createServicesConfig, DEFAULT_JUDGE } from '@waiter/services'
import { createMemoryStore } from '@waiter/store'
import { FleetScheduler } from './fleet-scheduler.ts'

/** What it answers to any message. */
export interface LeaderFigures {
  readonly atMs: number
  /** User and system time since the start. */
  readonly cpuMs: number
  readonly residentBytes: number
  /** Of that, what JavaScript objects take. */
  readonly heapBytes: number
  readonly started: number
  readonly stopped: number
  readonly lastStartMs: number
}

const scheduler = new FleetScheduler()
const leader = new Leader({
  leaderId: 'leader',
  term: 1,
  scheduler,
  store: createMemoryStore(),
  services: createServicesConfig(),
  policy: waiterPolicy as ScalingPolicy,
  settings: {
    decisionFloorMs: 100,
    decisionIntervalMs: 1_000,
    routerDeadAfterMs: 10_000,
    drainTimeoutMs: 900_000,
    settleMs: 5_000,
    killGraceMsMin: 3_000,
    suspectAfterFailures: 5,
    deploymentError: { minFailedInstances: 2, minHosts: 1 },
    brokenService: DEFAULT_BROKEN_SERVICE,
    limits: DEFAULT_SCALE_LIMITS,
    succession: { takeover: DEFAULT_TAKEOVER, judge: DEFAULT_JUDGE, probationMs: 600_000, holdMs: 60_000 },
  },
  clock: systemClock,
  log: silentLogger,
})
void leader.run()
await leader.listed
const server = await startRpcServer(
  { host: '127.0.0.1', port: 0 },
  [
    {
      definition: CoordinatorServiceService,
      handlers: { ...createCoordinatorHandlers(() => leader, silentLogger) },
    },
  ],
  createNodeAuth({ secrets: [process.argv[2] ?? ''], nodeId: 'leader' }),
)
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  const { started, stopped, lastStartMs } = scheduler
  const figures: LeaderFigures = {
    atMs: Date.now(),
    cpuMs: (user + system) / 1_000,
    residentBytes: process.memoryUsage.rss(),
    heapBytes: process.memoryUsage().heapUsed,
    started,
    stopped,
    lastStartMs,
  }
  process.send?.(figures)
})
process.on('disconnect', () => process.exit(0))
process.send?.(server.address)
