import { silentLogger } from '@waiter/base'
import type {
  AnswerQuestion,
  ClusterView,
  ExternalMetricsRow,
  InstanceSignal,
  InstancesChange,
  LeaderLink,
  RouterAnswers,
  ServiceView,
} from '@waiter/control'
import { createProxyServer, renderHeader } from '@waiter/proxy'
import { type Router, type RouterOptions, startRouter } from '@waiter/router'
import type { LogPiece, LogRange } from '@waiter/schedulers'
import { createExampleDefinition } from '@waiter/schedulers/contract'
import { createServicesConfig, createSimpleEntitlements, type ServiceDefinition } from '@waiter/services'
import { DEFAULT_EJECTION } from '@waiter/slots'
import { createMemoryStore, type KeyValueStore } from '@waiter/store'
import { request, type TestRequest, type TestResponse } from '@waiter/testkit'

export const ROUTER_ID = 'node-1-0123'
export const PASSWORD = 'the-password-of-a-service'

/** A leader as the API sees it: knows what the test tells it. */
export class FakeLink implements LeaderLink {
  leader = { isConnected: true, leaderId: 'node-1' as string | null, term: 3 }
  services: ServiceView[] = []
  readonly needs: string[] = []
  readonly deleted: string[] = []
  failure: Error | undefined

  needService(definition: ServiceDefinition): void {
    this.needs.push(definition.id)
  }

  wantSuccession(): void {}
  noteLoadChange(): void {}
  followService(): void {}
  noteReducedUse(): void {}
  drain(): void {}

  async viewServices(serviceId?: string): Promise<ClusterView> {
    if (this.failure !== undefined) throw this.failure
    return {
      term: 3,
      leaderId: 'node-1',
      services: this.services.filter(({ definition }) => !serviceId || definition.id === serviceId),
      routers: [{ routerId: ROUTER_ID, httpUrl: 'http://127.0.0.1:9091' }],
    }
  }

  async deleteService(serviceId: string): Promise<{ readonly isDeleted: boolean }> {
    this.deleted.push(serviceId)
    return { isDeleted: true }
  }

  async listLogs(): Promise<readonly { name: string; type: 'file' | 'directory'; size?: number; path: string }[]> {
    return [
      { name: 'stdout', type: 'file', size: 5, path: 'stdout' },
      { name: 'sub', type: 'directory', path: 'sub' },
    ]
  }

  readonly signals: InstanceSignal[] = []
  readonly questions: { readonly topic: string; readonly argument: unknown }[] = []
  readonly externalRows: ExternalMetricsRow[] = []
  readonly silentRouterIds: string[] = []
  logContent = Buffer.from('hello')
  /** Set by `startTestRouter`: this router answers for itself. */
  answer: AnswerQuestion = async () => null

  async readLog(_service: string, _instance: string, _path: string, range: LogRange): Promise<LogPiece> {
    const { offset, length } = range
    return { content: this.logContent.subarray(offset, offset + length), size: this.logContent.length }
  }

  async signalInstance(signal: InstanceSignal): Promise<{ readonly isFound: boolean }> {
    this.signals.push(signal)
    const service = this.services.find(({ definition }) => definition.id === signal.serviceId)
    const record = service?.instances.find(({ instanceId }) => instanceId === signal.instanceId)
    return { isFound: record !== undefined && record.endedAtMs === null }
  }

  async askRouters(topic: string, argument: unknown): Promise<RouterAnswers> {
    this.questions.push({ topic, argument })
    const answer: unknown = JSON.parse(JSON.stringify((await this.answer(topic, argument)) ?? null))
    return { answers: [{ routerId: ROUTER_ID, answer }], silentRouterIds: this.silentRouterIds }
  }

  async reportExternalMetrics(rows: readonly ExternalMetricsRow[]): Promise<{ readonly isUsed: boolean }> {
    this.externalRows.push(...rows)
    return { isUsed: rows.length > 0 }
  }

  readonly #changes: InstancesChange[] = []
  #wake: () => void = () => undefined

  /** Tells those who watch instances. */
  tellInstances(change: InstancesChange): void {
    this.#changes.push(change)
    this.#wake()
  }

  async *watchInstances(signal: AbortSignal): AsyncIterable<InstancesChange> {
    let at = 0
    signal.addEventListener('abort', () => this.#wake(), { once: true })
    while (!signal.aborted) {
      const change = this.#changes[at]
      if (change === undefined) {
        await new Promise<void>(resolve => {
          this.#wake = resolve
        })
        continue
      }
      at += 1
      yield change
    }
  }

  close(): void {}
}

export interface StartedRouter {
  readonly router: Router
  readonly port: number
  readonly link: FakeLink
  readonly store: KeyValueStore
  /** A deaf router's watch tells it nothing. */
  readonly watch: { isDeaf: boolean }
  /** Sends a request to the API, as `localhost`. */
  call(wanted: Omit<TestRequest, 'port'>): Promise<TestResponse>
  json(wanted: Omit<TestRequest, 'port'>): Promise<ReturnType<typeof JSON.parse>>
}

/** A whole router on a port of its own, without a cluster. */
export async function startTestRouter(
  t: { teardown(callback: () => Promise<void>): void },
  changes: Partial<RouterOptions> = {},
): Promise<StartedRouter> {
  const inner = createMemoryStore()
  const watch = { isDeaf: false }
  const store: KeyValueStore = {
    ...inner,
    watch: async function* (prefix, signal) {
      for await (const change of inner.watch(prefix, signal)) if (!watch.isDeaf) yield change
    },
  }
  const router = await startRouter({
    routerId: ROUTER_ID,
    nodeId: 'node-1',
    services: createServicesConfig({ waiterHostnames: ['localhost', '127.0.0.1'] }),
    entitlements: createSimpleEntitlements(['alice']),
    authentication: {
      authenticator: { kind: 'one-user', principal: 'alice' },
      secrets: ['a secret of this test'],
      clusterName: 'waiter',
      cookie: { maxAgeSecs: 60, sameSite: 'lax' },
    },
    cors: { policy: { kind: 'patterns', allowedOrigins: [] }, exposedHeaders: ['etag', 'x-cid'], maxAgeSecs: 3600 },
    consentMaxAgeSecs: 60,
    messages: {},
    trustedProxies: [],
    store,
    createProxyServer,
    renderHeader,
    ejection: DEFAULT_EJECTION,
    connectTimeoutMs: 5_000,
    clientIdleTimeoutMs: 60_000,
    passwordFor: () => PASSWORD,
    handshakeTimeoutMs: 10_000,
    handshakesMax: 100,
    webSocketAgeMsMax: 86_400_000,
    warnings: () => [],
    supportInfo: [{ label: 'Help', link: { type: 'url', value: 'https://example.com/help' } }],
    settings: { port: 0, 'cluster-config': { name: 'waiter' } },
    version: '1.2.3',
    log: silentLogger,
    ...changes,
  })
  const port = await router.listen({ host: '127.0.0.1', port: 0 })
  const link = new FakeLink()
  link.answer = router.answer
  router.connect(link)
  t.teardown(() => router.stop(0))
  const call = (wanted: Omit<TestRequest, 'port'>): Promise<TestResponse> =>
    request({ ...wanted, port, headers: { host: `localhost:${port}`, ...wanted.headers } })
  return { router, port, link, store, watch, call, json: async wanted => JSON.parse((await call(wanted)).text) }
}

/** A service as the leader describes it. */
export function exampleView(id: string): ServiceView {
  const record = {
    serviceId: id,
    host: '127.0.0.8',
    extraPorts: [],
    flags: [],
    exitCode: null,
    healthCheckStatus: null,
    message: null,
    stderrTail: '',
    logDirectory: '/data/x',
    extra: { 'shell-scheduler/pid': 42 },
    startedAtMs: 1_700_000_000_000,
  }
  return {
    definition: createExampleDefinition(id, 'serve', { name: 'hello', 'run-as-user': 'alice', env: { COLOUR: 'red' } }),
    summary: {
      status: 'Running',
      healthy: 1,
      unhealthy: 1,
      requested: 2,
      scalingState: 'stable',
      problem: null,
      sourceTokens: [[{ token: 'hello', version: 'E-1' }]],
      isOnTheFly: false,
      isStale: false,
      startTrouble: null,
      successions: [],
      outstanding: 2,
      total: 9,
      lastRequestMs: 1_700_000_001_000,
    },
    instances: [
      {
        ...record,
        instanceId: `${id}.1`,
        port: 10_001,
        state: 'healthy',
        healthyAtMs: 1_700_000_000_500,
        endedAtMs: null,
      },
      { ...record, instanceId: `${id}.2`, port: 10_002, state: 'starting', healthyAtMs: null, endedAtMs: null },
      {
        ...record,
        instanceId: `${id}.3`,
        port: 10_003,
        state: 'failed',
        healthyAtMs: null,
        endedAtMs: 1_700_000_000_900,
        exitCode: 1,
        stderrTail: 'no',
      },
      {
        ...record,
        instanceId: `${id}.4`,
        port: 10_004,
        state: 'killed',
        healthyAtMs: null,
        endedAtMs: 1_700_000_000_950,
      },
    ],
    scaling: { target: 1, reason: 'as it is' },
  }
}
