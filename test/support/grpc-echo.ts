import type { ServiceDefinition } from '@grpc/grpc-js'

const asIs = (bytes: Buffer): Buffer => bytes
const codec = { requestSerialize: asIs, requestDeserialize: asIs, responseSerialize: asIs, responseDeserialize: asIs }

/** The four kinds of calls on plain bytes. */
export const echoService = {
  unary: { path: '/test.Echo/Unary', requestStream: false, responseStream: false, ...codec },
  serverStream: { path: '/test.Echo/ServerStream', requestStream: false, responseStream: true, ...codec },
  clientStream: { path: '/test.Echo/ClientStream', requestStream: true, responseStream: false, ...codec },
  both: { path: '/test.Echo/Both', requestStream: true, responseStream: true, ...codec },
} satisfies ServiceDefinition
