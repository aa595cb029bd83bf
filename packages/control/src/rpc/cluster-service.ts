import type { ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js'
import { type Logger, type Term, WaiterError } from '@waiter/base'
import type { ProposeOutcome } from '@waiter/store'
import type {
  AnnounceRequest,
  AnnounceResponse,
  ClusterMember,
  ClusterServiceServer,
  HostState,
  JoinRequest,
  JoinResponse,
  LeaveRequest,
  LeaveResponse,
  ListMembersRequest,
  ListMembersResponse,
  MemberAddress,
  ProposeRequest,
  ProposeResponse,
  RouterState,
  TransferLeaderRequest,
  TransferLeaderResponse,
  WatchLeaderRequest,
  WatchLeaderResponse,
} from '../generated/waiter/v1/cluster.ts'
import { toServiceError } from './call-unary.ts'

/** One watch per router and control node is enough; more are refused. */
const WATCHES_MAX = 1_000

/** Who leads, as one control node knows it; empty texts: nobody. */
export interface LeaderNews {
  readonly term: Term
  readonly leaderId: string
  readonly address: string
  /** Where all control nodes are; of a later version counts more. */
  readonly members: readonly MemberAddress[]
  readonly membersVersion: number
}

/** The group of control nodes, as one of them sees it. */
export interface MembersView {
  readonly nodeId: string
  readonly term: Term
  readonly leaderId: string
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly members: readonly ClusterMember[]
  /** Those that run instances; empty: this node does not lead. */
  readonly hosts: readonly HostState[]
  /** Those that are attached; empty: this node does not lead. */
  readonly routers: readonly RouterState[]
}

/** A member of the group, as others call it. */
export interface ClusterNode {
  propose(command: Uint8Array, timeoutMs: number): Promise<ProposeOutcome>
  leaderNews(): LeaderNews
  /** @returns what ends that */
  onLeaderNews(listener: () => void): () => void
  members(): Promise<MembersView>
  /** @throws WaiterError when this node does not lead, or there is no such voter */
  transferLeader(nodeId: string): Promise<void>
  /** @throws WaiterError when the caller is of another cluster or protocol, or its name is taken */
  join(request: JoinRequest): Promise<JoinResponse>
  /** @throws WaiterError when the caller is of another group or protocol */
  announce(request: AnnounceRequest): Promise<AnnounceResponse>
  /** @throws WaiterError when this node does not lead, there is no such member, or the majority would be lost */
  leave(request: LeaveRequest): Promise<void>
}

/** Offers a member of the group to the other nodes. */
export function createClusterHandlers(node: ClusterNode, log: Logger): ClusterServiceServer {
  let watches = 0
  const unary = async <T>(callback: sendUnaryData<T>, work: () => Promise<T>): Promise<void> => {
    try {
      callback(null, await work())
    } catch (error) {
      log.warn({ err: error }, 'a call of another node failed')
      callback(toServiceError(error))
    }
  }
  return {
    propose: (call: ServerUnaryCall<ProposeRequest, ProposeResponse>, callback: sendUnaryData<ProposeResponse>) =>
      void unary(callback, async () =>
        toProposeResponse(await node.propose(call.request.command, call.request.timeoutMs)),
      ),
    watchLeader: (call: ServerWritableStream<WatchLeaderRequest, WatchLeaderResponse>) => {
      if (watches >= WATCHES_MAX) {
        const error = new WaiterError('too many watches of the leader', { code: 'WTR_TOO_MANY_WATCHERS', status: 503 })
        call.emit('error', toServiceError(error))
        return
      }
      watches += 1
      // Few and small: what a slow reader has not taken is at most one message per election.
      const unsubscribe = node.onLeaderNews(() => call.write(toWatchResponse(node.leaderNews())))
      let isOver = false
      const end = (): void => {
        if (isOver) return
        isOver = true
        watches -= 1
        unsubscribe()
      }
      call.on('cancelled', end)
      call.on('error', end)
      call.on('close', end)
      call.write(toWatchResponse(node.leaderNews()))
    },
    listMembers: (
      _call: ServerUnaryCall<ListMembersRequest, ListMembersResponse>,
      callback: sendUnaryData<ListMembersResponse>,
    ) =>
      void unary(callback, async () => {
        const view = await node.members()
        return { ...view, members: [...view.members], hosts: [...view.hosts], routers: [...view.routers] }
      }),
    transferLeader: (
      call: ServerUnaryCall<TransferLeaderRequest, TransferLeaderResponse>,
      callback: sendUnaryData<TransferLeaderResponse>,
    ) =>
      void unary(callback, async () => {
        await node.transferLeader(call.request.nodeId)
        return {}
      }),
    join: (call: ServerUnaryCall<JoinRequest, JoinResponse>, callback: sendUnaryData<JoinResponse>) =>
      void unary(callback, () => node.join(call.request)),
    announce: (call: ServerUnaryCall<AnnounceRequest, AnnounceResponse>, callback: sendUnaryData<AnnounceResponse>) =>
      void unary(callback, () => node.announce(call.request)),
    leave: (call: ServerUnaryCall<LeaveRequest, LeaveResponse>, callback: sendUnaryData<LeaveResponse>) =>
      void unary(callback, async () => {
        await node.leave(call.request)
        return {}
      }),
  }
}

function toWatchResponse(news: LeaderNews): WatchLeaderResponse {
  return { ...news, members: [...news.members] }
}

function toProposeResponse(outcome: ProposeOutcome): ProposeResponse {
  if (outcome.kind === 'applied') return { outcome: { $case: 'resultJson', value: JSON.stringify(outcome.result) } }
  const { mayHaveHappened, leader, why } = outcome
  return { outcome: { $case: 'failure', value: { mayHaveHappened, leader, why } } }
}
