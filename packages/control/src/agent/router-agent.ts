import type { CallOptions, ClientDuplexStream, Metadata, ServiceError } from '@grpc/grpc-js'
import { type InstanceId, type Logger, type RouterId, type ServiceId, type Term, WaiterError } from '@waiter/base'
import type { LogEntry, LogPiece, LogRange } from '@waiter/schedulers'
import type { ServiceDefinition } from '@waiter/services'
import { type MonotonicClock, systemClock } from '../clock.ts'
import type {
  AskRoutersResponse,
  Assignment,
  AttachRequest,
  AttachResponse,
  CoordinatorServiceClient,
  DeleteServiceResponse,
  ListLogsResponse,
  ListServicesResponse,
  ReadLogResponse,
  ReportExternalMetricsResponse,
  RouterQuestion,
  SignalInstanceResponse,
  WatchInstancesResponse,
} from '../generated/waiter/v1/coordinator.ts'
import { callUnary, fromServiceError } from '../rpc/call-unary.ts'
import { ClientPool } from '../rpc/client-pool.ts'
import type { RpcClients } from '../rpc/clients.ts'
import { type ControlLocator, leaderChange } from '../rpc/control-locator.ts'
import type {
  AgentHost,
  AnswerQuestion,
  ClusterView,
  ExternalMetricsRow,
  InstanceSignal,
  InstancesChange,
  LeaderLink,
  RouterAnswers,
  ServiceUseRow,
  SourceToken,
  SuccessionRequest,
} from './leader-link.ts'
import {
  fromLoadRow,
  fromReference,
  fromSuccession,
  toAssignmentChange,
  toBelief,
  toInstancesChange,
  toServiceView,
  toUse,
} from './wire.ts'

/** At most one load report in this time: under load, figures change with every request. */
const REPORT_FLOOR_MS = 50
/** A lost stream is opened anew after this, doubling up to the maximum. */
const RECONNECT_MS_FIRST = 20
const RECONNECT_MS_MAX = 500
/** A call waits so long for the next leader. */
const LEADER_WAIT_MS = 1_500
const LEADER_RETRY_MS = 100
/** Nothing happened, or nobody knows; another leader may answer. */
const LEADER_AWAY: ReadonlySet<string> = new Set(['WTR_NOT_LEADER', 'WTR_CONTROL_UNREACHABLE'])

type StartCall<Response> = (
  client: CoordinatorServiceClient,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => { cancel(): void }

export interface RouterAgentOptions {
  readonly locator: ControlLocator
  readonly clients: Pick<RpcClients, 'coordinator'>
  readonly routerId: RouterId
  readonly nodeId: string
  /** The host it runs on, and which start of it. */
  readonly hostId?: string
  readonly startId?: string
  /** Which of the node's workers, from 1. */
  readonly worker: number
  readonly httpUrl: string
  /** Where other routers borrow slots of this one; absent: nowhere. */
  readonly peerAddress?: string
  /** Where this router gossips; empty: it does not (yet). */
  readonly gossipAddress?: () => string
  readonly host: AgentHost
  /** Absent: this router answers no questions. */
  readonly answer?: AnswerQuestion
  readonly clock?: MonotonicClock
  readonly log: Logger
}

/**
 * The router's side of `Coordinator.Attach`: reports load up, applies assignments, acknowledges them. While the leader
 * is away it keeps trying; the router goes on with what it was assigned last.
 */
export class RouterAgent implements LeaderLink {
  readonly #options: RouterAgentOptions
  readonly #clients: ClientPool<CoordinatorServiceClient>
  readonly #clock: MonotonicClock
  readonly #unsubscribe: () => void
  /** Where the present stream goes. */
  #address: string | undefined
  #stream: ClientDuplexStream<AttachRequest, AttachResponse> | undefined
  #isClosed = false
  #isWelcome = false
  #leaderId: string | null = null
  #term: Term = 0
  #version = 0
  /** Definitions of services that the leader told of; it tells each once. */
  readonly #definitions = new Map<ServiceId, ServiceDefinition>()
  #reconnectMs = RECONNECT_MS_FIRST
  #cancelReconnect: () => void = () => undefined
  #lastReportMs = 0
  #cancelReport: () => void = () => undefined
  #isReportDue = false
  #isNeedReportDue = false
  #isAckDue = false
  #isDraining = false

  constructor(options: RouterAgentOptions) {
    this.#options = options
    const { clients, locator, clock = systemClock } = options
    this.#clients = new ClientPool(clients.coordinator)
    this.#clock = clock
    this.#unsubscribe = locator.onLeader(() => this.#onLeader())
    this.#attach()
  }

  get leader(): LeaderLink['leader'] {
    return { isConnected: this.#isWelcome, leaderId: this.#leaderId, term: this.#term }
  }

  needService(definition: ServiceDefinition, sourceTokens: readonly SourceToken[]): void {
    this.#send({
      $case: 'needed',
      value: {
        serviceId: definition.id,
        definitionJson: JSON.stringify(definition),
        sourceTokensJson: JSON.stringify(sourceTokens),
      },
    })
    // Without its load, the leader would not take a slot from a router that needs it less. This cannot wait for the
    // floor: nothing that runs here will ever free a slot for this request. One report for all needs of a turn.
    if (this.#isNeedReportDue) return
    this.#isNeedReportDue = true
    setImmediate(() => {
      this.#isNeedReportDue = false
      this.#report(false)
    })
  }

  wantSuccession(request: SuccessionRequest): void {
    this.#send({ $case: 'succession', value: fromSuccession(request) })
  }

  followService(serviceId: ServiceId): void {
    this.#send({ $case: 'follow', value: { serviceIds: [serviceId] } })
  }

  noteLoadChange(): void {
    if (this.#isReportDue) return
    this.#isReportDue = true
    const waitMs = this.#lastReportMs + REPORT_FLOOR_MS - this.#clock.elapsedMs()
    // Even an "at once" report waits for the end of this loop turn, so that one burst is one report.
    if (waitMs <= 0) this.#clock.soon(() => this.#report(false))
    else this.#cancelReport = this.#clock.schedule(waitMs, () => this.#report(false))
  }

  drain(isOver: boolean): void {
    this.#isDraining = !isOver
    if (this.#isWelcome) this.#tellDraining()
  }

  /** Another router has ended, for certain. Without a leader it is not told: the next one finds out, a little later. */
  tellEnded(routerId: RouterId): void {
    this.#send({ $case: 'ended', value: { routerId } })
  }

  noteReducedUse(): void {
    if (this.#isAckDue) return
    this.#isAckDue = true
    this.#clock.soon(() => {
      this.#isAckDue = false
      this.#acknowledge(this.#options.host.collectReducedUse())
    })
  }

  async viewServices(serviceId?: ServiceId): Promise<ClusterView> {
    const response = await this.#call<ListServicesResponse>((client, ...rest) =>
      client.listServices({ serviceId: serviceId ?? '' }, ...rest),
    )
    return {
      term: response.term,
      leaderId: response.leaderId,
      services: response.services.map(toServiceView),
      routers: response.routers,
    }
  }

  async deleteService(serviceId: ServiceId): Promise<{ readonly isDeleted: boolean }> {
    // Stopping instances takes their termination grace period: up to 300 s (spec §2.1), then SIGKILL.
    const DELETE_TIMEOUT_MS = 330_000
    const response = await this.#call<DeleteServiceResponse>(
      (client, ...rest) => client.deleteService({ serviceId }, ...rest),
      DELETE_TIMEOUT_MS,
    )
    return { isDeleted: response.deleted }
  }

  async listLogs(serviceId: ServiceId, instanceId: InstanceId, path: string): Promise<readonly LogEntry[]> {
    const response = await this.#call<ListLogsResponse>((client, ...rest) =>
      client.listLogs({ serviceId, instanceId, path }, ...rest),
    )
    return JSON.parse(response.entriesJson) as LogEntry[]
  }

  async readLog(serviceId: ServiceId, instanceId: InstanceId, path: string, range: LogRange): Promise<LogPiece> {
    const request = { serviceId, instanceId, path, ...range }
    return await this.#call<ReadLogResponse>((client, ...rest) => client.readLog(request, ...rest))
  }

  async signalInstance({ kind, ...signal }: InstanceSignal): Promise<{ readonly isFound: boolean }> {
    const response = await this.#call<SignalInstanceResponse>((client, ...rest) =>
      client.signalInstance({ ...signal, signal: kind }, ...rest),
    )
    return { isFound: response.found }
  }

  async askRouters(topic: string, argument: unknown, timeoutMs: number): Promise<RouterAnswers> {
    // The leader gives up on silent routers at `timeoutMs`; its answer needs a moment more to get here.
    const ANSWER_SLACK_MS = 2_000
    const request = { topic, argumentJson: JSON.stringify(argument), timeoutMs }
    const response = await this.#call<AskRoutersResponse>(
      (client, ...rest) => client.askRouters(request, ...rest),
      timeoutMs + ANSWER_SLACK_MS,
    )
    return {
      answers: response.answers.map(({ routerId, answerJson }) => ({ routerId, answer: JSON.parse(answerJson) })),
      silentRouterIds: response.silentRouterIds,
    }
  }

  async reportExternalMetrics(rows: readonly ExternalMetricsRow[]): Promise<{ readonly isUsed: boolean }> {
    const response = await this.#call<ReportExternalMetricsResponse>((client, ...rest) =>
      client.reportExternalMetrics({ instances: rows.map(row => ({ ...row })) }, ...rest),
    )
    return { isUsed: response.used }
  }

  async *watchInstances(signal: AbortSignal): AsyncIterable<InstancesChange> {
    const address = this.#leaderAddress()
    const stream = this.#clients.get(address).watchInstances({})
    const cancel = (): void => stream.cancel()
    // Whoever watches begins again with the new leader.
    const unsubscribe = this.#options.locator.onLeader(cancel)
    signal.addEventListener('abort', cancel, { once: true })
    try {
      if (signal.aborted) return
      for await (const response of stream) yield toInstancesChange(response as WatchInstancesResponse)
    } catch (error) {
      if (!signal.aborted) throw fromServiceError(error as ServiceError)
    } finally {
      unsubscribe()
      signal.removeEventListener('abort', cancel)
      stream.cancel()
    }
  }

  close(): void {
    this.#isClosed = true
    this.#isWelcome = false
    this.#cancelReconnect()
    this.#cancelReport()
    this.#unsubscribe()
    this.#stream?.cancel()
    this.#clients.close()
  }

  #leaderAddress(): string {
    const { locator } = this.#options
    return locator.leader() ?? locator.any()
  }

  /** Calls the leader; when that one does not lead any more, the next one. All calls may be repeated. */
  async #call<Response>(start: StartCall<Response>, timeoutMs?: number): Promise<Response> {
    const { locator } = this.#options
    const giveUpAtMs = this.#clock.elapsedMs() + LEADER_WAIT_MS
    for (;;) {
      const address = this.#leaderAddress()
      try {
        return await callUnary<Response>((...rest) => start(this.#clients.get(address), ...rest), timeoutMs)
      } catch (error) {
        const leftMs = giveUpAtMs - this.#clock.elapsedMs()
        const isAway = error instanceof WaiterError && LEADER_AWAY.has(error.code)
        if (!isAway || !locator.hasOthers || leftMs <= 0) throw error
        if (this.#leaderAddress() === address) await leaderChange(locator, Math.min(leftMs, LEADER_RETRY_MS))
      }
    }
  }

  /** Another one leads: this router's stream goes there, also when the old one only hangs. */
  #onLeader(): void {
    const address = this.#leaderAddress()
    if (this.#isClosed || (address === this.#address && this.#isWelcome)) return
    this.#reconnectMs = RECONNECT_MS_FIRST
    const stream = this.#stream
    if (stream === undefined) this.#reconnect(0)
    else {
      this.#onLost(stream, undefined, 0)
      stream.cancel()
    }
  }

  #tellDraining(): void {
    this.#stream?.write({ message: { $case: 'draining', value: { isOver: !this.#isDraining } } })
  }

  #attach(): void {
    const address = this.#leaderAddress()
    this.#address = address
    const stream = this.#clients.get(address).attach()
    this.#stream = stream
    const { routerId, nodeId, worker, httpUrl, peerAddress = '', hostId = '', startId = '' } = this.#options
    const gossipAddress = this.#options.gossipAddress?.() ?? ''
    stream.on('data', (response: AttachResponse) => this.#onResponse(stream, response))
    stream.on('error', error => this.#onLost(stream, error))
    stream.on('end', () => this.#onLost(stream, undefined))
    const beliefs = this.#options.host.collectBeliefs().map(toBelief)
    const relatedRouterIds = [...this.#options.host.collectRelated()]
    const where = { nodeId, worker, hostId, startId, httpUrl, peerAddress, gossipAddress }
    const value = { routerId, ...where, relatedRouterIds, beliefs }
    stream.write({ message: { $case: 'hello', value } })
  }

  #onResponse(stream: ClientDuplexStream<AttachRequest, AttachResponse>, response: AttachResponse): void {
    if (stream !== this.#stream) return
    switch (response.message?.$case) {
      case 'welcome':
        this.#onWelcome(response.message.value.term, response.message.value.leaderId)
        return
      case 'assignment':
        this.#onAssignment(response.message.value)
        return
      case 'question':
        void this.#answer(stream, response.message.value)
        return
      default:
    }
  }

  #onWelcome(term: Term, leaderId: string): void {
    if (term < this.#term) {
      this.#options.log.warn({ term, knownTerm: this.#term, leaderId }, 'refused a leader of an older term')
      this.#stream?.cancel()
      return
    }
    this.#term = term
    this.#version = 0
    this.#leaderId = leaderId
    this.#isWelcome = true
    this.#options.log.info({ term, leaderId }, 'attached to the leader')
    if (this.#isDraining) this.#tellDraining()
    // Needs first: of a service that the leader does not know, it ignores the load.
    for (const need of this.#options.host.collectNeeds()) this.needService(need.definition, need.sourceTokens)
    this.#report(true)
    for (const request of this.#options.host.collectSuccessions()) this.wantSuccession(request)
  }

  #onAssignment(assignment: Assignment): void {
    const isNewer = assignment.term === this.#term && assignment.version > this.#version
    if (!isNewer) {
      this.#options.log.warn({ term: assignment.term, version: assignment.version }, 'refused an old assignment')
      return
    }
    const { host } = this.#options
    host.applyAssignment(toAssignmentChange(assignment, this.#definitions))
    this.#version = assignment.version
    this.#reconnectMs = RECONNECT_MS_FIRST
    this.#acknowledge(host.collectUse(assignment.upserts.map(service => service.serviceId)))
  }

  /** A question without an answer costs whoever asked some waiting, nothing else. */
  async #answer(stream: ClientDuplexStream<AttachRequest, AttachResponse>, question: RouterQuestion): Promise<void> {
    const { answer, log } = this.#options
    try {
      const answerJson = JSON.stringify((await answer?.(question.topic, JSON.parse(question.argumentJson))) ?? null)
      if (stream !== this.#stream) return
      stream.write({ message: { $case: 'answer', value: { questionId: question.questionId, answerJson } } })
    } catch (error) {
      log.warn({ err: error, topic: question.topic }, 'could not answer a question of the leader')
    }
  }

  #onLost(
    stream: ClientDuplexStream<AttachRequest, AttachResponse>,
    error: Error | undefined,
    reconnectMs: number = this.#reconnectMs,
  ): void {
    if (stream !== this.#stream || this.#isClosed) return
    if (this.#isWelcome) this.#options.log.warn({ cause: error?.message }, 'lost the leader; serving goes on')
    this.#stream = undefined
    this.#isWelcome = false
    this.#options.host.leaderLost()
    this.#reconnect(reconnectMs)
    this.#reconnectMs = Math.min(RECONNECT_MS_MAX, this.#reconnectMs * 2)
  }

  #reconnect(delayMs: number): void {
    this.#cancelReconnect()
    this.#cancelReconnect = this.#clock.schedule(delayMs, () => this.#attach())
  }

  #report(all: boolean): void {
    this.#isReportDue = false
    this.#cancelReport()
    // Rows stay marked as changed until a leader is there to hear them.
    if (!this.#isWelcome) return
    const references = this.#options.host.collectReferences(all)
    if (references.length > 0) this.#send({ $case: 'referenced', value: { references: references.map(fromReference) } })
    const rows = this.#options.host.collectLoads(all)
    this.#lastReportMs = this.#clock.elapsedMs()
    if (rows.length > 0 || all) this.#send({ $case: 'report', value: { services: rows.map(fromLoadRow) } })
  }

  #acknowledge(rows: readonly ServiceUseRow[]): void {
    if (!this.#isWelcome || this.#version === 0) return
    this.#send({ $case: 'ack', value: { term: this.#term, version: this.#version, services: rows.map(toUse) } })
  }

  #send(message: NonNullable<AttachRequest['message']>): void {
    // Not connected: needs and loads are collected anew for the next leader.
    if (this.#isWelcome) this.#stream?.write({ message })
  }
}
