import type { ClientOptions } from '@grpc/grpc-js'
import type { NodeAuth } from './node-auth.ts'
import { RPC_MESSAGE_BYTES_MAX } from './rpc-server.ts'

/** So much may be under way to a client at once: HTTP/2's default of 64 KiB lets a busy leader send that much per turn. */
const WINDOW_BYTES = 1024 * 1024

/** Options of every client that talks to a control node: proofs, limits, quick reconnects. */
export function channelOptions(auth: NodeAuth): ClientOptions {
  return {
    ...auth.channelOptions,
    interceptors: [auth.clientInterceptor],
    'grpc.max_receive_message_length': RPC_MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': RPC_MESSAGE_BYTES_MAX,
    'grpc-node.flow_control_window': WINDOW_BYTES,
    // Nodes reach each other directly: a proxy of the environment is for the world outside.
    'grpc.enable_http_proxy': 0,
    // A restarted control process should be found at once, not after gRPC's default back-off of up to two minutes.
    'grpc.initial_reconnect_backoff_ms': 50,
    'grpc.min_reconnect_backoff_ms': 50,
    'grpc.max_reconnect_backoff_ms': 1_000,
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 5_000,
  }
}
