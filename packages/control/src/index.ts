/**
 * The control plane: the leader, the router's line to it, and the calls between nodes.
 *
 * - `leader/`: hears routers and the scheduler, decides, assigns. One per cluster.
 * - `agent/`: a router's side: reports load, applies assignments, acknowledges.
 * - `hosts/`: the scheduler of a host, offered to the leader and driven by it.
 * - `peers/`: routers lend each other slots.
 * - `rpc/`: gRPC with proofs of membership; the store offered to other nodes and used from them.
 *
 * Not here: what to decide (`@waiter/scaling`, `@waiter/slots`) and how instances run (`@waiter/schedulers`).
 */
export type {
  AgentHost,
  AnswerQuestion,
  AssignmentChange,
  ClusterView,
  ExternalMetricsRow,
  InstanceLease,
  InstanceSignal,
  InstancesChange,
  LeaderLink,
  ReferenceRow,
  RouterAnswers,
  ServiceBeliefRow,
  ServiceLeases,
  ServiceLoadRow,
  ServiceProblem,
  ServiceSummary,
  ServiceUseRow,
  ServiceView,
  SourceToken,
  SuccessionRequest,
  SuccessionState,
} from './agent/leader-link.ts'
export { RouterAgent, type RouterAgentOptions } from './agent/router-agent.ts'
export { type LeaderClock, type MonotonicClock, systemClock } from './clock.ts'
export {
  type AnnounceRequest,
  type AnnounceResponse,
  type Caller,
  type ClusterMember,
  ClusterServiceService,
  type HostState,
  type JoiningNode,
  type JoinRequest,
  type JoinResponse,
  type LeaveRequest,
  type MemberAddress,
  type RouterState,
} from './generated/waiter/v1/cluster.ts'
export { CoordinatorServiceService } from './generated/waiter/v1/coordinator.ts'
export { HostSchedulerServiceService } from './generated/waiter/v1/host_scheduler.ts'
export { KeyValueServiceService } from './generated/waiter/v1/key_value.ts'
export { type MetricFamily, RouterServiceService } from './generated/waiter/v1/router.ts'
export {
  createHostSchedulerHandlers,
  type HostSeat,
  type KeptHost,
  notHostKeeper,
} from './hosts/host-scheduler-service.ts'
export { RemoteHost, type RemoteHostOptions } from './hosts/remote-host.ts'
export { createCoordinatorHandlers } from './leader/coordinator-handlers.ts'
export { Leader } from './leader/leader.ts'
export type { LeaderOptions } from './leader/leader-options.ts'
export type { LeaderSettings } from './leader/leader-settings.ts'
export type { RouterIntroduction } from './leader/router-registry.ts'
export type { SuccessionSettings } from './leader/succession.ts'
export { createMeasureHandler, type SiblingMeasures, Siblings } from './peers/sibling-measures.ts'
export { type ExchangeCounts, type PeerChange, SlotExchange, type SlotExchangeOptions } from './peers/slot-exchange.ts'
export { formatAddress, type HostAndPort, parseAddress } from './rpc/address.ts'
export { notLeader } from './rpc/call-unary.ts'
export { createRpcClients, type RpcClients } from './rpc/clients.ts'
export { type ClusterCalls, createClusterCalls } from './rpc/cluster-client.ts'
export { type ClusterNode, createClusterHandlers, type LeaderNews, type MembersView } from './rpc/cluster-service.ts'
export { type ControlAddress, ControlDirectory, type KnownLeader } from './rpc/control-directory.ts'
export { type ControlLocator, onlyControl } from './rpc/control-locator.ts'
export { createKeyValueHandlers } from './rpc/key-value-service.ts'
export { createNodeAuth, type NodeAuth, type NodeAuthOptions, type NodeTls } from './rpc/node-auth.ts'
export { createRemoteStore } from './rpc/remote-store.ts'
export { type RpcServer, type RpcService, startRpcServer } from './rpc/rpc-server.ts'
