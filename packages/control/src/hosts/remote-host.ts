import type { CallOptions, ClientReadableStream, Metadata, ServiceError } from '@grpc/grpc-js'
import { type InstanceId, type Logger, type ServiceId, type Term, WaiterError } from '@waiter/base'
import type {
  Fence,
  FleetHost,
  HostCapacity,
  InstanceRef,
  KillRequest,
  KillResult,
  LogEntry,
  LogPiece,
  LogRange,
  Scheduler,
  SchedulerEvent,
} from '@waiter/schedulers'
import type { ServiceDefinition } from '@waiter/services'
import {
  HostSchedulerServiceClient,
  type KillHostedResponse,
  type ListHostedLogsResponse,
  type ReadHostedLogResponse,
  type WatchHostResponse,
} from '../generated/waiter/v1/host_scheduler.ts'
import { callUnary, fromServiceError } from '../rpc/call-unary.ts'
import { channelOptions } from '../rpc/channel-options.ts'
import { ClientPool } from '../rpc/client-pool.ts'
import type { NodeAuth } from '../rpc/node-auth.ts'

/** A process that says nothing for so long is given up for another one: four signs of life have not come. */
const SILENT_MS_MAX = 2_000
/** A start is an entry on disk; whoever takes longer has a problem with it. */
const ORDER_MS_MAX = 5_000
/** Beyond the grace period that was asked for, until SIGKILL has done its work. */
const KILL_SLACK_MS = 15_000
/** Longer than grace periods are; a host that goes away meanwhile is noticed by the connection's keep-alive. */
const DELETE_MS_MAX = 900_000
/** Services that are noted as used within this go in one message. */
const USE_BATCH_MS = 100
/** A service that goes on being used is not mentioned again before: hosts let rest what was not used for 30 s. */
const USE_AGAIN_MS = 5_000
/** Of a host that has not said what it can carry. */
const UNKNOWN_CAPACITY: HostCapacity = { cpus: 1, memMb: 1024 }

export interface RemoteHostOptions {
  readonly hostId: string
  /** In whose name it is watched. */
  readonly term: Term
  readonly auth: NodeAuth
  /** `host:port` of the host's control processes: one of them keeps its scheduler. */
  readonly addresses: readonly string[]
  readonly log?: Logger
  /** It is about to stop, or goes on after all. */
  readonly onDrains?: () => void
}

type Call<Response> = (
  client: HostSchedulerServiceClient,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => { cancel(): void }

/** The scheduler of another host, by gRPC to the control process that keeps it. */
export class RemoteHost implements FleetHost, Scheduler {
  readonly name = 'remote'
  readonly hostId: string
  readonly #options: RemoteHostOptions
  readonly #clients: ClientPool<HostSchedulerServiceClient>
  #addresses: readonly string[]
  /** Which of them is tried next. */
  #next = 0
  /** The one that keeps the scheduler; undefined while none is heard. */
  #keeper: string | undefined
  #capacity = UNKNOWN_CAPACITY
  #drains = false
  /** What ran when this leader looked for the first time; undefined: it has not yet. */
  #firstIds: ReadonlySet<InstanceId> | undefined
  /** Services that the host has heard of lately, or will in a moment, and those of the latter. */
  readonly #used = new Set<ServiceId>()
  readonly #unsaid = new Set<ServiceId>()
  #sayTimer: NodeJS.Timeout | undefined
  #againTimer: NodeJS.Timeout | undefined

  constructor(options: RemoteHostOptions) {
    this.#options = options
    this.hostId = options.hostId
    this.#addresses = options.addresses
    this.#clients = new ClientPool(
      address => new HostSchedulerServiceClient(address, options.auth.channelCredentials, channelOptions(options.auth)),
    )
  }

  get scheduler(): Scheduler {
    return this
  }

  capacity(): HostCapacity {
    return this.#capacity
  }

  /** Whether it is about to stop, as far as it has said. */
  get drains(): boolean {
    return this.#drains
  }

  /** Its control processes are others, or elsewhere. */
  setAddresses(addresses: readonly string[]): void {
    this.#addresses = addresses
  }

  close(): void {
    clearTimeout(this.#sayTimer)
    clearTimeout(this.#againTimer)
    this.#clients.close()
  }

  /** A predecessor hears nothing of the host since this leader watches it (`Watchers` there). */
  isUnheard({ instanceId }: InstanceRef): boolean {
    return this.#firstIds?.has(instanceId) === false
  }

  /** Cheap: called with every look at a service. */
  noteUse(id: ServiceId): void {
    if (this.#used.has(id)) return
    this.#used.add(id)
    this.#unsaid.add(id)
    this.#sayTimer ??= setTimeout(() => void this.#sayUse(), USE_BATCH_MS).unref()
    this.#againTimer ??= setTimeout(() => this.#forgetUse(), USE_AGAIN_MS).unref()
  }

  async *watch(signal: AbortSignal): AsyncIterable<SchedulerEvent> {
    const address = this.#addresses[this.#next++ % Math.max(1, this.#addresses.length)]
    if (address === undefined) throw this.#unreachable()
    const { hostId, term } = this.#options
    const stream = this.#clients.get(address).watchHost({ order: { hostId, term } })
    const cancel = (): void => stream.cancel()
    const watchdog = setTimeout(cancel, SILENT_MS_MAX)
    signal.addEventListener('abort', cancel, { once: true })
    if (signal.aborted) cancel()
    try {
      yield* this.#read(stream, address, watchdog)
      // The process has let the scheduler go.
      if (!signal.aborted) throw this.#unreachable()
    } catch (error) {
      if (signal.aborted) return
      throw error instanceof WaiterError ? error : this.#toError(error as ServiceError)
    } finally {
      clearTimeout(watchdog)
      signal.removeEventListener('abort', cancel)
      if (this.#keeper === address) this.#keeper = undefined
      stream.cancel()
    }
  }

  async create(definition: ServiceDefinition, count: number, fence: Fence): Promise<void> {
    const request = { order: this.#order(fence), definitionJson: JSON.stringify(definition), count }
    await this.#call((client, ...rest) => client.createHosted(request, ...rest))
  }

  async scale(serviceId: ServiceId, to: number, fence: Fence): Promise<void> {
    const request = { order: this.#order(fence), serviceId, to }
    await this.#call((client, ...rest) => client.scaleHosted(request, ...rest))
  }

  async kill({ serviceId, instanceId, graceMs, reason }: KillRequest, fence: Fence): Promise<KillResult> {
    const request = { order: this.#order(fence), serviceId, instanceId, graceMs: Math.ceil(graceMs), reason }
    const { isKilled } = await this.#call<KillHostedResponse>(
      (client, ...rest) => client.killHosted(request, ...rest),
      graceMs + KILL_SLACK_MS,
    )
    return { kind: isKilled ? 'killed' : 'no-such-instance' }
  }

  async delete(serviceId: ServiceId, fence: Fence): Promise<void> {
    const request = { order: this.#order(fence), serviceId }
    await this.#call((client, ...rest) => client.deleteHosted(request, ...rest), DELETE_MS_MAX)
  }

  async update(definition: ServiceDefinition, fence: Fence): Promise<void> {
    const request = { order: this.#order(fence), definitionJson: JSON.stringify(definition) }
    await this.#call((client, ...rest) => client.updateHosted(request, ...rest))
  }

  async logs({ serviceId, instanceId }: InstanceRef, path: string): Promise<readonly LogEntry[]> {
    const request = { order: this.#order(), serviceId, instanceId, path }
    const { entriesJson } = await this.#call<ListHostedLogsResponse>((client, ...rest) =>
      client.listHostedLogs(request, ...rest),
    )
    return JSON.parse(entriesJson) as LogEntry[]
  }

  async readLog({ serviceId, instanceId }: InstanceRef, path: string, range: LogRange): Promise<LogPiece> {
    const request = { order: this.#order(), serviceId, instanceId, path, ...range }
    return await this.#call<ReadHostedLogResponse>((client, ...rest) => client.readHostedLog(request, ...rest))
  }

  async *#read(
    stream: ClientReadableStream<WatchHostResponse>,
    address: string,
    watchdog: NodeJS.Timeout,
  ): AsyncIterable<SchedulerEvent> {
    for await (const { news } of stream as AsyncIterable<WatchHostResponse>) {
      watchdog.refresh()
      if (news?.$case === 'capacity') this.#capacity = news.value
      if (news?.$case === 'signOfLife') this.#hearDrains(news.value.drains)
      if (news?.$case !== 'eventJson') continue
      this.#keeper = address
      const event = JSON.parse(news.value) as SchedulerEvent
      if (event.kind === 'listing') this.#firstIds ??= idsOf(event)
      yield event
    }
  }

  async #sayUse(): Promise<void> {
    const serviceIds = [...this.#unsaid]
    this.#unsaid.clear()
    this.#sayTimer = undefined
    try {
      const request = { order: this.#order(), serviceIds }
      await this.#call((client, ...rest) => client.noteHostedUse(request, ...rest))
    } catch (error) {
      // It is said again as long as it is true.
      for (const id of serviceIds) this.#used.delete(id)
      this.#options.log?.debug({ err: error, hostId: this.hostId }, 'a host could not be told what is in use')
    }
  }

  #hearDrains(drains: boolean): void {
    if (drains === this.#drains) return
    this.#drains = drains
    this.#options.onDrains?.()
  }

  #forgetUse(): void {
    this.#againTimer = undefined
    this.#used.clear()
  }

  #order(fence?: Fence): { hostId: string; term: Term } {
    return { hostId: this.hostId, term: fence?.term ?? this.#options.term }
  }

  async #call<Response = unknown>(start: Call<Response>, timeoutMs = ORDER_MS_MAX): Promise<Response> {
    const keeper = this.#keeper
    if (keeper === undefined) throw this.#unreachable()
    try {
      return await callUnary<Response>((...rest) => start(this.#clients.get(keeper), ...rest), timeoutMs)
    } catch (error) {
      throw error instanceof WaiterError && error.code === 'WTR_CONTROL_UNREACHABLE' ? this.#unreachable(error) : error
    }
  }

  #toError(error: ServiceError): WaiterError {
    const known = fromServiceError(error)
    return known.code === 'WTR_CONTROL_UNREACHABLE' ? this.#unreachable(error) : known
  }

  #unreachable(cause?: unknown): WaiterError {
    return new WaiterError(`no control process of the host ${this.hostId} serves its scheduler at present`, {
      code: 'WTR_HOST_UNREACHABLE',
      status: 503,
      retryable: true,
      ...(cause === undefined ? {} : { cause }),
    })
  }
}

function idsOf({ services }: Extract<SchedulerEvent, { kind: 'listing' }>): ReadonlySet<InstanceId> {
  return new Set(services.flatMap(({ instances }) => instances.map(({ instanceId }) => instanceId)))
}
