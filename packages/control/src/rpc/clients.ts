import { ClusterServiceClient } from '../generated/waiter/v1/cluster.ts'
import { CoordinatorServiceClient } from '../generated/waiter/v1/coordinator.ts'
import { KeyValueServiceClient } from '../generated/waiter/v1/key_value.ts'
import { RouterServiceClient } from '../generated/waiter/v1/router.ts'
import { channelOptions } from './channel-options.ts'
import type { NodeAuth } from './node-auth.ts'

/** Makes clients of what other processes offer. Nothing connects before its first call; whoever asks for one closes it. */
export interface RpcClients {
  cluster(address: string): ClusterServiceClient
  coordinator(address: string): CoordinatorServiceClient
  keyValue(address: string): KeyValueServiceClient
  router(address: string): RouterServiceClient
}

/** Clients over gRPC that prove which cluster they belong to. */
export function createRpcClients(auth: NodeAuth): RpcClients {
  const rest = [auth.channelCredentials, channelOptions(auth)] as const
  return {
    cluster: address => new ClusterServiceClient(address, ...rest),
    coordinator: address => new CoordinatorServiceClient(address, ...rest),
    keyValue: address => new KeyValueServiceClient(address, ...rest),
    router: address => new RouterServiceClient(address, ...rest),
  }
}
