import { type Metadata, status } from '@grpc/grpc-js'
import { type Logger, silentLogger } from '@waiter/base'
import {
  type AgentHost,
  type AssignmentChange,
  CoordinatorServiceService,
  createCoordinatorHandlers,
  createKeyValueHandlers,
  createNodeAuth,
  createRpcClients,
  KeyValueServiceService,
  Leader,
  type NodeAuth,
  type RpcClients,
  type RpcServer,
  type ServiceLoadRow,
  startRpcServer,
  systemClock,
} from '@waiter/control'
import { type ScalingPolicy, waiterPolicy } from '@waiter/scaling'
import type { ServiceDefinition } from '@waiter/services'
import { createServicesConfig } from '@waiter/services'
import { createMemoryStore, type KeyValueStore } from '@waiter/store'
import { createRecorder, type Recorder } from '@waiter/testkit'
import { FakeScheduler } from './fake-scheduler.ts'
import { SETTINGS } from './leader-world.ts'

export const SECRET = 'a cluster secret for tests only'
export const auth: NodeAuth = createNodeAuth({ secrets: [SECRET], nodeId: 'node-1' })
export const clients: RpcClients = createRpcClients(auth)

export interface RunningLeader {
  readonly leader: Leader
  readonly scheduler: FakeScheduler
  readonly server: RpcServer
  stop(): Promise<void>
}

/** A leader behind a real gRPC server. */
export async function startLeader(options: {
  readonly term: number
  readonly port?: number
  readonly store?: KeyValueStore
  readonly scheduler?: FakeScheduler
  readonly log?: Logger
}): Promise<RunningLeader> {
  const scheduler = options.scheduler ?? new FakeScheduler(Date.now)
  const store = options.store ?? createMemoryStore()
  const log = options.log ?? silentLogger
  const leader = new Leader({
    leaderId: `leader-${options.term}`,
    term: options.term,
    scheduler,
    store,
    services: createServicesConfig(),
    policy: waiterPolicy as ScalingPolicy,
    settings: { ...SETTINGS, settleMs: 0 },
    clock: systemClock,
    log,
  })
  const running = leader.run()
  await leader.listed
  const server = await startRpcServer(
    { host: '127.0.0.1', port: options.port ?? 0 },
    [
      { definition: CoordinatorServiceService, handlers: { ...createCoordinatorHandlers(() => leader, log) } },
      { definition: KeyValueServiceService, handlers: { ...createKeyValueHandlers(store, log) } },
    ],
    auth,
  )
  return {
    leader,
    scheduler,
    server,
    stop: async () => {
      server.close()
      leader.stop()
      await running
    },
  }
}

export function portOf(server: RpcServer): number {
  return Number(server.address.split(':').at(-1))
}

/** A router's table as the agent sees it: says what the test wants, remembers what it is told. */
export class FakeHost implements AgentHost {
  readonly changes: Recorder<AssignmentChange> = createRecorder()
  readonly collectedAll: Recorder<boolean> = createRecorder()
  needs: { definition: ServiceDefinition; sourceTokens: [] }[] = []
  rows: ServiceLoadRow[] = []

  applyAssignment(change: AssignmentChange): void {
    this.changes.push(change)
  }

  leaderLost(): void {}

  collectLoads(all: boolean): readonly ServiceLoadRow[] {
    this.collectedAll.push(all)
    return this.rows
  }

  collectUse(serviceIds: readonly string[]): { serviceId: string; instances: [] }[] {
    return serviceIds.map(serviceId => ({ serviceId, instances: [] }))
  }

  collectReducedUse(): [] {
    return []
  }

  collectBeliefs(): [] {
    return []
  }

  collectRelated(): readonly string[] {
    return []
  }

  collectReferences(): [] {
    return []
  }

  collectSuccessions(): [] {
    return []
  }

  collectNeeds(): readonly { definition: ServiceDefinition; sourceTokens: [] }[] {
    return this.needs
  }
}

/** What a proof looks like, for tests that tamper with it. */
export function proofOf(metadata: Metadata): string {
  return String(metadata.get('waiter-node-proof')[0])
}

export const UNAUTHENTICATED: number = status.UNAUTHENTICATED
