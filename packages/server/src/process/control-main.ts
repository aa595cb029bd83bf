/** The control process of a node: store, scheduler, leader, and the calls that routers make to it. */
import {
  CoordinatorServiceService,
  createCoordinatorHandlers,
  createKeyValueHandlers,
  KeyValueServiceService,
  Leader,
  type LeaderSettings,
  type SuccessionSettings,
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
import { createProcessScheduler } from '@waiter/schedulers'
import { computeInstanceEnvironment, DEFAULT_JUDGE } from '@waiter/services'
import { openJournalStore } from '@waiter/store'
import type { Settings } from '../config/schema.ts'
import { toServicesConfig } from '../config/services-config.ts'
import { takeNextTerm } from '../data-directory.ts'
import { openNodeAuth } from '../node-security.ts'
import { createPasswordFor } from '../service-password.ts'
import type { ControlStart } from './messages.ts'
import { runChild } from './run-child.ts'

/** Routers of this machine attach within milliseconds; until then nothing that runs is judged superfluous. */
const SETTLE_MS = 5_000
/** A new version is compared with the one before it for ten minutes; that one keeps its size for the first of them. */
const SUCCESSION: SuccessionSettings = {
  takeover: DEFAULT_TAKEOVER,
  judge: DEFAULT_JUDGE,
  probationMs: 600_000,
  holdMs: 60_000,
}
/** An instance may at least this long react to SIGTERM, also when its service asks for no grace period. */
const KILL_GRACE_MS_MIN = 3_000

runChild<ControlStart>('start-control', async (message, log) => {
  const { settings, nodeId } = message
  const auth = openNodeAuth(message)
  const passwordFor = createPasswordFor(message.clusterSecrets[0])
  const store = await openJournalStore({ directory: message.storeDirectory, log })
  const processSettings = settings['scheduler-config'].process
  const [first, last] = processSettings['port-range']
  const scheduler = await createProcessScheduler({
    dataDir: message.schedulerDirectory,
    log,
    passwordFor,
    environmentFor: (definition, seat) =>
      computeInstanceEnvironment({
        definition,
        clusterName: settings['cluster-config'].name,
        password: seat.password,
        home: seat.directory,
        ports: seat.ports,
      }),
    portRange: { first, last },
    portQuarantineMs: processSettings['port-grace-period-ms'],
    memoryCheckIntervalMs: processSettings['memory-check-interval-ms'],
    outputBytesMax: processSettings['log-bytes-max'],
  })
  const leader = new Leader({
    leaderId: nodeId,
    term: takeNextTerm(message.termFile),
    scheduler,
    store,
    services: toServicesConfig(settings),
    policy: waiterPolicy as ScalingPolicy,
    settings: toLeaderSettings(settings),
    clock: systemClock,
    log,
  })
  const running = leader.run()
  await leader.listed
  const server = await startRpcServer(
    message.bind,
    [
      { definition: CoordinatorServiceService, handlers: { ...createCoordinatorHandlers(leader, log) } },
      { definition: KeyValueServiceService, handlers: { ...createKeyValueHandlers(store, log) } },
    ],
    auth,
  )
  log.info({ address: server.address }, 'the control process serves')
  return {
    address: server.address,
    stop: async graceMs => {
      server.close()
      leader.stop()
      await scheduler.stopAll(graceMs)
      await running
      await store.close()
    },
  }
})

function toLeaderSettings(settings: Settings): LeaderSettings {
  const { scaling } = settings
  return {
    decisionFloorMs: scaling['decision-floor-ms'],
    decisionIntervalMs: scaling['autoscaler-interval-ms'],
    routerDeadAfterMs: scaling['router-dead-after-ms'],
    drainTimeoutMs: scaling['drain-timeout-ms'],
    settleMs: SETTLE_MS,
    killGraceMsMin: KILL_GRACE_MS_MIN,
    suspectAfterFailures: settings['ejection-config']['expiry-threshold'],
    deploymentError: {
      minFailedInstances: settings['deployment-error-config']['min-failed-instances'],
      minHosts: settings['deployment-error-config']['min-hosts'],
    },
    brokenService: DEFAULT_BROKEN_SERVICE,
    succession: SUCCESSION,
    limits: {
      ...DEFAULT_SCALE_LIMITS,
      quantumCpus: scaling['quanta-constraints'].cpus,
      quantumMemMb: scaling['quanta-constraints'].mem,
    },
  }
}
