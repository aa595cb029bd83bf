/** A control process: a member of the group that keeps the store, and the leader, when the group has chosen this one. */
import { type Logger, type Term, WaiterError } from '@waiter/base'
import {
  type ClusterCalls,
  ClusterServiceService,
  CoordinatorServiceService,
  createClusterCalls,
  createClusterHandlers,
  createCoordinatorHandlers,
  createHostSchedulerHandlers,
  createKeyValueHandlers,
  HostSchedulerServiceService,
  type HostState,
  KeyValueServiceService,
  Leader,
  type LeaderSettings,
  type NodeAuth,
  notLeader,
  onlyControl,
  type RpcServer,
  type RpcService,
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
import { type ContactLimits, createProcessScheduler, type ProcessScheduler } from '@waiter/schedulers'
import { computeInstanceEnvironment, DEFAULT_JUDGE } from '@waiter/services'
import type { Settings } from '../config/schema.ts'
import { toServicesConfig } from '../config/services-config.ts'
import { ClusterFleet } from '../control/cluster-fleet.ts'
import { asClusterNode, followMembers, selfOf } from '../control/group-node.ts'
import { HostDeparture } from '../control/host-departure.ts'
import { HostKeeper, readCapacity } from '../control/host-keeper.ts'
import { Leadership, type Reign } from '../control/leadership.ts'
import { keepMembers } from '../control/members-keeper.ts'
import { RaftMember } from '../control/raft-member.ts'
import { instanceNetworkOf } from '../host.ts'
import { openNodeAuth } from '../node-security.ts'
import { createPasswordFor } from '../service-password.ts'
import type { Bind, ControlStart } from './messages.ts'
import { runChild } from './run-child.ts'

/** Routers attach to a new leader within a second; until then nothing that runs is judged superfluous. */
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

/** What runs while this node leads. */
interface LeaderReign extends Reign {
  readonly leader: Leader
  readonly fleet: ClusterFleet
  /** Of this host. */
  readonly scheduler: ProcessScheduler
}

runChild<ControlStart>('start-control', async (message, log, parent) => {
  const { nodeId } = message
  const auth = openNodeAuth(message)
  const calls = createClusterCalls(auth)
  const [secret] = message.clusterSecrets
  const { advertise } = message.host
  const raftBind = { ...message.raftBind, advertise }
  const member = await RaftMember.open({ nodeId, raft: message.raft, bind: raftBind, secret, calls, log })
  const { hostId } = message.host
  const departure = new HostDeparture({
    hostId,
    ask: async () => leadership.current?.fleet.describeHosts() ?? (await askLeader(member, calls)),
    onChange: () => leadership.current?.fleet.review(),
    onEnd: why => parent.tell({ kind: 'departed', why }),
    log,
  })
  const drains = (): boolean => departure.drains
  const keeper = new HostKeeper({ hostId, open: fence => openScheduler(message, log, fence), drains, log })
  const leadership: Leadership<LeaderReign> = new Leadership<LeaderReign>({
    begin: (term, signal) => beginReign({ message, member, keeper, auth, drains, log }, term, signal),
    onChange: reign => parent.tell({ kind: 'leadership', leads: reign !== undefined }),
    log,
  })
  const currentLeader = (): Leader => {
    const leader = leadership.current?.leader
    if (leader === undefined || member.store.node.role !== 'leader') throw notLeader(member.leaderNews().leaderId)
    return leader
  }
  const view = () => ({
    hosts: leadership.current?.fleet.describeHosts() ?? [],
    routers: leadership.current?.leader.describeRouters() ?? [],
  })
  const server = await serve(
    { ...message.bind, advertise },
    [
      { definition: CoordinatorServiceService, handlers: { ...createCoordinatorHandlers(currentLeader, log) } },
      { definition: KeyValueServiceService, handlers: { ...createKeyValueHandlers(member.store, log) } },
      {
        definition: ClusterServiceService,
        handlers: { ...createClusterHandlers(asClusterNode(message, member, { calls, view, log }), log) },
      },
      { definition: HostSchedulerServiceService, handlers: { ...createHostSchedulerHandlers(hostId, keeper, log) } },
    ],
    auth,
    log,
  )
  const self = selfOf(message, { grpc: server.address, raft: member.address })
  followRaft(member, leadership, log)
  parent.onMembers(members => member.setPeers(members))
  parent.onDrain(isDraining => departure.set(isDraining))
  const announcer = followMembers({ message, member, self, calls, parent, log })
  log.info({ address: server.address, raft: member.address, member: message.raft.id }, 'the control process serves')
  return {
    address: server.address,
    raftAddress: member.address,
    sinceMs: self.sinceMs,
    stop: async (graceMs, { stopsInstances }) => {
      announcer.stop()
      departure.stop()
      if (stopsInstances && (await member.handOver())) leadership.set(undefined)
      const reign = await leadership.freeze()
      // A leader elsewhere hears what ends, as long as this process serves.
      if (reign === undefined && stopsInstances) await keeper.stopAll(graceMs)
      keeper.close()
      server.close()
      reign?.leader.stop()
      if (stopsInstances) await reign?.scheduler.stopAll(graceMs)
      else await reign?.scheduler.stop()
      await keeper.release()
      reign?.halt()
      await reign?.ended()
      await member.close()
      calls.close()
    },
  }
})

/** A member that cannot go on (its disk has failed, its log is damaged) ends this process; it is started again. */
function followRaft(member: RaftMember, leadership: Leadership<LeaderReign>, log: Logger): void {
  const { node } = member.store
  const follow = (): void => leadership.set(node.role === 'leader' ? node.status().hardState.term : undefined)
  node.subscribe(event => {
    if (event.kind === 'leaderChanged') {
      const { term, role } = event
      log.info({ term, role, leader: member.leaderNews().leaderId }, 'the leadership of the control nodes changed')
      follow()
    } else if (event.kind === 'storageStalled') log.warn({ sinceMs: event.sinceMs }, 'the disk does not answer')
    else if (event.kind === 'snapshotFailed') log.warn({ err: event.error, peer: event.peer }, 'a snapshot failed')
  })
  follow()
  void node.ended.then(error => {
    if (error === undefined) return
    log.error({ err: error }, 'this control node cannot go on')
    const LOG_MS = 100
    setTimeout(() => process.exit(1), LOG_MS)
  })
}

/** What the leader, wherever it is, says of the hosts. */
async function askLeader(member: RaftMember, calls: ClusterCalls): Promise<readonly HostState[]> {
  const { address } = member.leaderNews()
  return address === '' ? [] : (await calls.members(onlyControl(address))).hosts
}

interface ReignParts {
  readonly message: ControlStart
  readonly member: RaftMember
  readonly keeper: HostKeeper
  readonly auth: NodeAuth
  /** Whether this host is about to stop. */
  readonly drains: () => boolean
  readonly log: Logger
}

/** Takes the scheduler over and begins to decide. The term fences everything that it orders. */
async function beginReign(parts: ReignParts, term: Term, signal: AbortSignal): Promise<LeaderReign> {
  const { message, member, keeper, auth, drains, log } = parts
  const { settings, nodeId } = message
  // Somebody may lead a later term already: this one has then nothing to open.
  await member.store.node.read({ signal })
  await keeper.release()
  const scheduler = await openScheduler(message, log, { term })
  const { hostId } = message.host
  const fleet = new ClusterFleet({
    local: { hostId, scheduler, capacity: readCapacity },
    source: member,
    term,
    auth,
    limits: toContactLimits(settings),
    drains,
    moveMsMax: settings['scheduler-config'].hosts['move-timeout-ms'],
    log,
  })
  const leader = new Leader({
    leaderId: nodeId,
    term,
    host: message.host,
    scheduler: fleet.scheduler,
    store: member.store,
    services: toServicesConfig(settings),
    policy: waiterPolicy as ScalingPolicy,
    settings: toLeaderSettings(message),
    clock: systemClock,
    log,
  })
  const end = new AbortController()
  const members = keepMembers(member, message.raft.nextId, {
    signal: end.signal,
    mayLeave: host => fleet.mayLeave(host, performance.now()),
    replaceAfterMs: settings['cluster-config']['replace-voter-after-ms'],
    log,
  })
  let isHalted = false
  let stopped: Promise<void> | undefined
  const halt = (): void => {
    if (isHalted) return
    isHalted = true
    end.abort()
    leader.stop()
    fleet.stop()
    stopped = scheduler.stop()
  }
  const running = leader.run()
  const aborted = new Promise<void>(resolve => {
    const onAbort = (): void => {
      halt()
      resolve()
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
  await Promise.race([leader.listed, aborted])
  log.info({ term }, 'leads')
  return {
    leader,
    fleet,
    scheduler,
    halt,
    ended: async () => {
      await Promise.all([running, stopped, members])
    },
  }
}

function openScheduler(message: ControlStart, log: Logger, fence?: { readonly term: Term }): Promise<ProcessScheduler> {
  const { settings } = message
  const processSettings = settings['scheduler-config'].process
  const [first, last] = processSettings['port-range']
  return createProcessScheduler({
    dataDir: message.schedulerDirectory,
    ...(fence === undefined ? {} : { fence }),
    ...instanceNetworkOf(message.host),
    log,
    passwordFor: createPasswordFor(message.clusterSecrets[0]),
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
}

/** On the port it had before, if nobody has taken that meanwhile; a fixed one must be free. */
async function serve(
  bind: Bind & { readonly advertise: string },
  services: readonly RpcService[],
  auth: NodeAuth,
  log: Logger,
): Promise<RpcServer> {
  if (bind.port === 0) return await startRpcServer(bind, services, auth)
  try {
    return await startRpcServer(bind, services, auth)
  } catch (error) {
    if (!(error instanceof WaiterError) || bind.isFixed === true) throw error
    log.warn({ err: error, port: bind.port }, 'the former port is taken; another one is used')
    return await startRpcServer({ ...bind, port: 0 }, services, auth)
  }
}

function toContactLimits({ 'scheduler-config': { hosts } }: Settings): ContactLimits {
  return { lostAfterMs: hosts['lost-after-ms'], givenUpAfterMs: hosts['given-up-after-ms'] }
}

function toLeaderSettings({ settings, host }: ControlStart): LeaderSettings {
  const { scaling } = settings
  // On one machine instances pretend to run on several hosts; where there are others, each says where it is.
  const minHosts = instanceNetworkOf(host).network === undefined ? undefined : 1
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
      minHosts: minHosts ?? settings['deployment-error-config']['min-hosts'],
    },
    brokenService: { ...DEFAULT_BROKEN_SERVICE, ...(minHosts === undefined ? {} : { minHosts }) },
    succession: SUCCESSION,
    limits: {
      ...DEFAULT_SCALE_LIMITS,
      quantumCpus: scaling['quanta-constraints'].cpus,
      quantumMemMb: scaling['quanta-constraints'].mem,
    },
  }
}
