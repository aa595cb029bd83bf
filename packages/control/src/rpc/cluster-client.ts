import { WaiterError } from '@waiter/base'
import type { ProposeOutcome } from '@waiter/store'
import type {
  AnnounceRequest,
  AnnounceResponse,
  JoinRequest,
  JoinResponse,
  LeaveRequest,
  LeaveResponse,
  ListMembersResponse,
  ProposeResponse,
  TransferLeaderResponse,
} from '../generated/waiter/v1/cluster.ts'
import { callUnary } from './call-unary.ts'
import { ClientPool } from './client-pool.ts'
import { createRpcClients } from './clients.ts'
import type { MembersView } from './cluster-service.ts'
import { type ControlLocator, leaderChange } from './control-locator.ts'
import type { NodeAuth } from './node-auth.ts'

/** The wire and the far side's own timer need a moment more than the work. */
const ANSWER_SLACK_MS = 500
/** A leader may be about to be found. */
const LEADER_WAIT_MS = 1_500

/** It is repeated until it succeeds. */
const ANNOUNCE_MS = 1_000

/** Calls to the group of control nodes. */
export interface ClusterCalls {
  /** Puts a command to the member there. Never rejects for its sake. */
  propose(address: string, command: Uint8Array, timeoutMs: number): Promise<ProposeOutcome>
  /** The leader's view; another member's when there is none. */
  members(locator: ControlLocator): Promise<MembersView>
  transferLeader(locator: ControlLocator, nodeId: string): Promise<void>
  leave(locator: ControlLocator, request: LeaveRequest): Promise<void>
  /** Asks the member there to be taken in. */
  join(address: string, request: JoinRequest): Promise<JoinResponse>
  announce(address: string, request: AnnounceRequest): Promise<AnnounceResponse>
  close(): void
}

/** Connects when it is called first. */
export function createClusterCalls(auth: NodeAuth): ClusterCalls {
  const clients = new ClientPool(createRpcClients(auth).cluster)
  return {
    propose: async (address, command, timeoutMs) => {
      try {
        const response = await callUnary<ProposeResponse>(
          (metadata, options, callback) =>
            clients.get(address).propose({ command, timeoutMs: Math.ceil(timeoutMs) }, metadata, options, callback),
          timeoutMs + ANSWER_SLACK_MS,
        )
        return toOutcome(response)
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error)
        return { kind: 'failed', mayHaveHappened: true, leader: 0, why }
      }
    },
    members: locator =>
      callUnary<ListMembersResponse>((metadata, options, callback) =>
        clients.get(locator.any()).listMembers({}, metadata, options, callback),
      ),
    transferLeader: async (locator, nodeId) => {
      const leader = await leaderOf(locator)
      await callUnary<TransferLeaderResponse>((metadata, options, callback) =>
        clients.get(leader).transferLeader({ nodeId }, metadata, options, callback),
      )
    },
    leave: async (locator, request) => {
      const leader = await leaderOf(locator)
      await callUnary<LeaveResponse>((metadata, options, callback) =>
        clients.get(leader).leave(request, metadata, options, callback),
      )
    },
    join: (address, request) =>
      callUnary<JoinResponse>((metadata, options, callback) =>
        clients.get(address).join(request, metadata, options, callback),
      ),
    announce: (address, request) =>
      callUnary<AnnounceResponse>(
        (metadata, options, callback) => clients.get(address).announce(request, metadata, options, callback),
        ANNOUNCE_MS,
      ),
    close: () => clients.close(),
  }
}

async function leaderOf(locator: ControlLocator): Promise<string> {
  if (locator.leader() === undefined) await leaderChange(locator, LEADER_WAIT_MS)
  return locator.leader() ?? locator.any()
}

function toOutcome({ outcome }: ProposeResponse): ProposeOutcome {
  switch (outcome?.$case) {
    case 'resultJson':
      return { kind: 'applied', result: JSON.parse(outcome.value) }
    case 'failure':
      return { kind: 'failed', ...outcome.value }
    default:
      throw new WaiterError('the control node speaks a newer protocol: upgrade this node', { code: 'WTR_PROTOCOL' })
  }
}
