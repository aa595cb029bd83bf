import type { ServerDuplexStream, ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js'
import { type Logger, WaiterError } from '@waiter/base'
import type { InstanceSignal } from '../agent/leader-link.ts'
import {
  fromInstancesChange,
  fromServiceView,
  parseDefinition,
  parseSourceTokens,
  toReference,
  toSuccession,
} from '../agent/wire.ts'
import type {
  AskRoutersRequest,
  AskRoutersResponse,
  AttachRequest,
  AttachResponse,
  CoordinatorServiceServer,
  DeleteServiceRequest,
  DeleteServiceResponse,
  ListLogsRequest,
  ListLogsResponse,
  ListServicesRequest,
  ListServicesResponse,
  ReadLogRequest,
  ReadLogResponse,
  ReportExternalMetricsRequest,
  ReportExternalMetricsResponse,
  SignalInstanceRequest,
  SignalInstanceResponse,
  WatchInstancesRequest,
  WatchInstancesResponse,
} from '../generated/waiter/v1/coordinator.ts'
import { toServiceError } from '../rpc/call-unary.ts'
import type { Leader } from './leader.ts'
import type { RouterSession } from './router-session.ts'

/**
 * Offers the leader to the routers, over gRPC.
 *
 * @param current the leader, when it is this node; else throws `WTR_NOT_LEADER`
 */
export function createCoordinatorHandlers(current: () => Leader, log: Logger): CoordinatorServiceServer {
  const unary = async <Response>(callback: sendUnaryData<Response>, work: () => Promise<Response>): Promise<void> => {
    try {
      callback(null, await work())
    } catch (error) {
      log.warn({ err: error }, 'a call to the leader failed')
      callback(toServiceError(error))
    }
  }
  return {
    attach: (call: ServerDuplexStream<AttachRequest, AttachResponse>) => serveRouter(current, call, log),
    listServices: (
      call: ServerUnaryCall<ListServicesRequest, ListServicesResponse>,
      callback: sendUnaryData<ListServicesResponse>,
    ) =>
      void unary(callback, async () => {
        const view = current().view(call.request.serviceId === '' ? undefined : call.request.serviceId)
        return { ...view, services: view.services.map(fromServiceView), routers: [...view.routers] }
      }),
    deleteService: (
      call: ServerUnaryCall<DeleteServiceRequest, DeleteServiceResponse>,
      callback: sendUnaryData<DeleteServiceResponse>,
    ) => void unary(callback, async () => ({ deleted: await current().delete(call.request.serviceId) })),
    listLogs: (call: ServerUnaryCall<ListLogsRequest, ListLogsResponse>, callback: sendUnaryData<ListLogsResponse>) =>
      void unary(callback, async () => {
        const { serviceId, instanceId, path } = call.request
        return { entriesJson: JSON.stringify(await current().logs(serviceId, instanceId, path)) }
      }),
    readLog: (call: ServerUnaryCall<ReadLogRequest, ReadLogResponse>, callback: sendUnaryData<ReadLogResponse>) =>
      void unary(callback, async () => {
        const { serviceId, instanceId, path, offset, length } = call.request
        return await current().readLog(serviceId, instanceId, path, { offset, length })
      }),
    signalInstance: (
      call: ServerUnaryCall<SignalInstanceRequest, SignalInstanceResponse>,
      callback: sendUnaryData<SignalInstanceResponse>,
    ) => void unary(callback, async () => ({ found: current().signal(toSignal(call.request)) })),
    askRouters: (
      call: ServerUnaryCall<AskRoutersRequest, AskRoutersResponse>,
      callback: sendUnaryData<AskRoutersResponse>,
    ) =>
      void unary(callback, async () => {
        const { timeoutMs, ...question } = call.request
        const { answers, silentRouterIds } = await current().askRouters(question, timeoutMs)
        return { answers: [...answers], silentRouterIds: [...silentRouterIds] }
      }),
    reportExternalMetrics: (
      call: ServerUnaryCall<ReportExternalMetricsRequest, ReportExternalMetricsResponse>,
      callback: sendUnaryData<ReportExternalMetricsResponse>,
    ) => void unary(callback, async () => ({ used: current().reportExternalMetrics(call.request.instances) })),
    watchInstances: (call: ServerWritableStream<WatchInstancesRequest, WatchInstancesResponse>) =>
      serveWatch(current, call, log),
  }
}

const SIGNALS: ReadonlySet<string> = new Set<InstanceSignal['kind']>(['expire', 'soft-kill', 'force-kill'])

function toSignal({ signal, ...instance }: SignalInstanceRequest): InstanceSignal {
  if (!SIGNALS.has(signal))
    throw new WaiterError(`no such signal: ${signal}`, { code: 'WTR_NO_SUCH_SIGNAL', status: 400 })
  return { ...instance, kind: signal as InstanceSignal['kind'] }
}

function serveWatch(
  current: () => Leader,
  call: ServerWritableStream<WatchInstancesRequest, WatchInstancesResponse>,
  log: Logger,
): void {
  try {
    const end = current().watchInstances({
      write: change => call.write(fromInstancesChange(change)),
      onDrain: callback => void call.once('drain', callback),
      end: () => call.end(),
    })
    call.on('cancelled', end)
    call.on('error', end)
    call.on('close', end)
  } catch (error) {
    log.warn({ err: error }, 'a watch of instances was refused')
    call.emit('error', toServiceError(error))
  }
}

/** One router's stream: hello first, then reports, needs and acknowledgements. */
function serveRouter(
  current: () => Leader,
  call: ServerDuplexStream<AttachRequest, AttachResponse>,
  log: Logger,
): void {
  let leader: Leader | undefined
  let session: RouterSession | undefined
  const leave = (): void => {
    if (session !== undefined) leader?.detach(session)
    session = undefined
  }
  const receive = ({ message }: AttachRequest): void => {
    if (message?.$case === 'hello') {
      leader = current()
      session = leader.attach(message.value, {
        write: response => call.write(response),
        onDrain: callback => void call.once('drain', callback),
        end: () => call.end(),
      })
      return
    }
    // It has another session, or has ended: what is still on its way from it says nothing about the present.
    if (session?.isClosed) return
    // A later version may say more than this one understands.
    if (message === undefined) return
    if (leader === undefined || session === undefined) {
      log.warn({ message: message.$case }, 'a stream did not begin with hello; closing it')
      call.end()
      return
    }
    switch (message.$case) {
      case 'report':
        leader.report(session, message.value.services)
        return
      case 'needed':
        leader.need(
          leader.definitionOf(message.value.serviceId) ?? parseDefinition(message.value.definitionJson),
          parseSourceTokens(message.value.sourceTokensJson),
          session,
        )
        return
      case 'referenced':
        leader.reference(message.value.references.map(toReference))
        return
      case 'succession':
        leader.succeed(toSuccession(message.value), session)
        return
      case 'follow':
        leader.follow(session, message.value.serviceIds)
        return
      case 'draining':
        leader.drain(session, message.value.isOver)
        return
      case 'ended':
        leader.routerEnded(message.value.routerId)
        return
      case 'ack':
        leader.acknowledge(session, message.value.version, message.value.services)
        return
      case 'answer':
        leader.answered(session, message.value.questionId, message.value.answerJson)
    }
  }
  call.on('data', (request: AttachRequest) => {
    try {
      receive(request)
    } catch (error) {
      if (error instanceof WaiterError && error.retryable) {
        call.emit('error', toServiceError(error))
        return
      }
      // A router of another version, perhaps: it loses its stream, the leader must not lose its footing.
      log.error(
        { err: error, routerId: session?.routerId },
        'a message of a router could not be read; closing its stream',
      )
      leave()
      call.end()
    }
  })
  call.on('end', () => {
    leave()
    call.end()
  })
  call.on('cancelled', leave)
  call.on('error', leave)
}
