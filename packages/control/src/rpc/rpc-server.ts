import {
  logVerbosity,
  Server,
  type ServiceDefinition,
  setLogVerbosity,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { WaiterError } from '@waiter/base'
import { formatAddress, type HostAndPort } from './address.ts'
import type { NodeAuth } from './node-auth.ts'

/** Largest message a node accepts: a full assignment of 10,000 services stays below it. */
export const RPC_MESSAGE_BYTES_MAX: number = 64 * 1024 * 1024

/** A running control-plane listener. */
export interface RpcServer {
  /** Where others reach it: `127.0.0.1:41234`. */
  readonly address: string
  /** Ends open streams at once; callers reconnect elsewhere. */
  close(): void
}

/** One service to offer: the generated definition and its handlers. */
export interface RpcService {
  readonly definition: ServiceDefinition
  readonly handlers: UntypedServiceImplementation
}

/** gRPC says in its text what the system said. */
function listenFailed({ host, port }: HostAndPort, cause: Error): WaiterError {
  const why = cause.message.includes('EADDRINUSE')
    ? 'the port is in use: stop what uses it, or choose others with --cluster-port (cluster-config.port)'
    : cause.message.includes('EADDRNOTAVAIL')
      ? 'this machine does not have that address: --advertise one that it has, or say with cluster-config.host where to listen'
      : 'is the port in use, and the address ours? See --cluster-port, --advertise and cluster-config.host'
  return new WaiterError(`cannot listen for nodes on ${formatAddress(host, port)}: ${why}`, {
    code: 'WTR_LISTEN_FAILED',
    cause,
  })
}

/**
 * Opens the control-plane listener. Every call must carry a proof of membership.
 *
 * @param bind host and port; port 0 lets the system choose. `advertise`: how others call that host, if not so
 * @throws WaiterError WTR_LISTEN_FAILED when the address is taken or not ours
 */
export async function startRpcServer(
  bind: HostAndPort & { readonly advertise?: string },
  services: readonly RpcService[],
  auth: NodeAuth,
): Promise<RpcServer> {
  // What it prints beside its errors is for nobody: the errors say it better.
  setLogVerbosity(logVerbosity.NONE)
  const server = new Server({
    interceptors: [auth.serverInterceptor],
    'grpc.max_receive_message_length': RPC_MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': RPC_MESSAGE_BYTES_MAX,
    // A silent peer is noticed in 15 s: a half-open TCP connection would otherwise look alive for minutes.
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 5_000,
    'grpc.so_reuseport': 0,
  })
  for (const service of services) server.addService(service.definition, service.handlers)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(formatAddress(bind.host, bind.port), auth.serverCredentials, (error, boundPort) => {
      if (error === null) resolve(boundPort)
      else reject(listenFailed(bind, error))
    })
  })
  return { address: formatAddress(bind.advertise ?? bind.host, port), close: () => server.forceShutdown() }
}
