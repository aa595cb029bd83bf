import { createPrng, silentLogger } from '@waiter/base'
import type { InstanceLease, ServiceSummary } from '@waiter/control'
import { type Outcome, renderHeader } from '@waiter/proxy'
import { createExampleDefinition } from '@waiter/schedulers/contract'
import type { Descriptor } from '@waiter/services'
import { DEFAULT_EJECTION, type StatusCheck } from '@waiter/slots'
import type { StatusQuestion } from '../../src/async/ask-status.ts'
import { AsyncRequests } from '../../src/async/async-requests.ts'
import { AsyncTickets, TICKET_CHARS_MAX } from '../../src/async/async-tickets.ts'
import { createSealedBox } from '../../src/auth/sealed-box.ts'
import type { RequestError } from '../../src/errors/error-response.ts'
import { ProxiedRequest, type RequestEnvironment } from '../../src/request/proxied-request.ts'
import { type ServiceRuntime, systemTime } from '../../src/services/service-runtime.ts'
import { ServiceTable } from '../../src/services/service-table.ts'
import { ReferenceRecorder } from '../../src/versions/reference-recorder.ts'
import { FakeExchange, headOf } from './fake-exchange.ts'

export const ID = 'waiter-service-hello'
const summary: ServiceSummary = {
  status: 'Running',
  healthy: 1,
  unhealthy: 0,
  requested: 1,
  scalingState: 'stable',
  problem: null,
  sourceTokens: [],
  isOnTheFly: false,
  isStale: false,
  startTrouble: null,
  successions: [],
  outstanding: 0,
  total: 0,
  lastRequestMs: 0,
}

/** A service of one router, with requests, instances and time in the test's hands. */
export class World {
  nowMs = 1_000
  /** What waits for its time, by callback. */
  readonly timers = new Map<() => void, number>()
  readonly needs: string[] = []
  /** How often the leader was told that there is something new. */
  loadNotes = 0
  readonly errors: { request: ProxiedRequest; error: RequestError }[] = []
  readonly table = new ServiceTable({
    ejection: DEFAULT_EJECTION,
    random: createPrng(1),
    time: { ...systemTime, nowMs: () => this.nowMs },
    onInstanceRetired: () => undefined,
    references: new ReferenceRecorder(),
    successions: () => [],
  })
  readonly runtime: ServiceRuntime
  /** What instances say of their work, by target; otherwise they work on. */
  readonly statusByTarget = new Map<string, StatusCheck>()
  readonly statusQuestions: StatusQuestion[] = []
  readonly asyncRequests = new AsyncRequests({
    routerId: 'router-1',
    tickets: new AsyncTickets(
      createSealedBox({ secrets: ['s'], clusterName: 'c', purpose: 'async request', charsMax: TICKET_CHARS_MAX }),
    ),
    nowMs: () => this.nowMs,
    wallMs: () => this.nowMs,
    after: (delayMs, callback) => this.#after(delayMs, callback),
    askStatus: async question => {
      this.statusQuestions.push(question)
      return this.statusByTarget.get(question.target) ?? { kind: 'answered', status: 200, location: 'none' }
    },
    nextId: () => `r-${++this.#asyncCount}`,
    log: silentLogger,
  })
  #asyncCount = 0
  readonly #environment: RequestEnvironment
  readonly #descriptor: Descriptor

  constructor(changes: Parameters<typeof createExampleDefinition>[2] = {}) {
    const definition = createExampleDefinition(ID, 'serve', changes)
    this.runtime = this.table.open(definition)
    this.#descriptor = {
      definition,
      serviceId: ID,
      isAuthenticationDisabled: false,
      isPreauthorized: true,
      tokens: [{ token: 'hello', version: 'E-1' }],
    } as unknown as Descriptor
    this.table.connect({
      noteLoadChange: () => void this.loadNotes++,
      followService: () => undefined,
      noteReducedUse: () => undefined,
      needService: ({ id }) => void this.needs.push(id),
    })
    this.#environment = {
      nowMs: () => this.nowMs,
      renderHeader,
      connectTimeoutMs: 5_000,
      routerId: 'router-1',
      accessLog: undefined,
      protocolOf: () => 'HTTP/1.1',
      after: (delayMs, callback) => this.#after(delayMs, callback),
      asyncRequests: this.asyncRequests,
      responseLines: 'via: 1.1 router-1\r\n',
      requestLinesOf: () => 'authorization: Basic x\r\n',
      needService: (runtime, descriptor) => this.table.need(runtime, descriptor.tokens),
      answerError: (request, error) => {
        this.errors.push({ request, error })
        request.parts.exchange.respond({ status: error.status, headers: [] })
      },
    }
  }

  #after(delayMs: number, callback: () => void): () => void {
    this.timers.set(callback, delayMs)
    return () => this.timers.delete(callback)
  }

  /** The only timer fires, at its time; what it started is over when this resolves. */
  async fire(): Promise<void> {
    const [[callback, delayMs] = [undefined, 0], ...more] = [...this.timers]
    if (callback === undefined || more.length > 0) throw new Error(`${more.length} more timers than one, or none`)
    this.timers.delete(callback)
    this.nowMs += delayMs
    callback()
    await new Promise<void>(resolve => setImmediate(resolve))
  }

  /** The leader assigns instances `a`, `b` …, each with so many slots. */
  assign(slots: Readonly<Record<string, number>>, changes: Partial<ServiceSummary> = {}): void {
    const leases = Object.entries(slots).map(
      ([name, count], index): InstanceLease => ({
        instanceId: `${ID}.${name}`,
        host: '127.0.0.1',
        port: 10_000 + index,
        extraPorts: [],
        slots: count,
        startedAtMs: index,
        expired: false,
        logDirectory: '/data/日本',
      }),
    )
    this.table.applyAssignment({
      isFull: false,
      upserts: [{ definition: this.runtime.definition, leases, summary: { ...summary, ...changes } }],
      removals: [],
    })
  }

  request(
    options: {
      isDebug?: boolean
      queueTimeoutMs?: number
      totalTimeoutMs?: number
      grpcTimeoutMs?: number
      path?: string
    } = {},
  ): FakeExchange {
    const head = headOf({ path: options.path ?? '/', headers: { host: 'app.example.com' } })
    const fake = new FakeExchange({ head, arrivedAtMs: this.nowMs })
    new ProxiedRequest(
      {
        exchange: fake.exchange,
        runtime: this.runtime,
        descriptor: this.#descriptor,
        timeouts: {
          queueTimeoutMs: options.queueTimeoutMs ?? 300_000,
          socketTimeoutMs: 900_000,
          streamingTimeoutMs: 20_000,
          totalTimeoutMs: options.totalTimeoutMs ?? Number.POSITIVE_INFINITY,
          grpcTimeoutMs: options.grpcTimeoutMs ?? Number.POSITIVE_INFINITY,
          asyncRequestTimeoutMs: 60_000,
          asyncCheckIntervalMs: 3_000,
          warnings: [],
        },
        logPart: undefined,
        cid: 'cid-1',
        isDebug: options.isDebug ?? false,
        identity: { principal: 'alice@X', user: 'alice', method: 'cookie', requestLines: '' },
        answerHeaders: [],
      },
      this.#environment,
    ).start()
    return fake
  }

  /** Time passes; the runtime's timer is made to look. */
  pass(ms: number): void {
    this.nowMs += ms
    this.runtime.machine.expire(this.nowMs)
  }

  get counts(): ServiceRuntime['counts'] {
    return this.runtime.counts
  }
}

export const completed = (status: number): Outcome => ({ kind: 'completed', status, requestBytes: 1, responseBytes: 1 })
export const notSent = (reason: 'refused' | 'stale' | 'unprocessed' = 'refused'): Outcome => ({
  kind: 'not-sent',
  reason,
  code: 'ECONNREFUSED',
})
export const unanswered = (retryable: boolean): Outcome => ({
  kind: 'failed-before-response',
  reason: 'reset',
  detail: 'ECONNRESET',
  retryable,
})

export function world(
  t: { teardown(callback: () => void): void },
  changes: Parameters<typeof createExampleDefinition>[2] = {},
): World {
  const made = new World(changes)
  t.teardown(() => made.table.dispose())
  return made
}
