/**
 * What tests of all packages share: the *kitchen* (a backend that behaves, or misbehaves, as its `x-kitchen-` headers
 * wish), a hello-world backend that starts in milliseconds, HTTP and WebSocket clients that show every byte, and ways
 * to wait for events instead of sleeping. Nothing here runs in production.
 */
export { type CertificateWish, makeCertificate, type TestCertificate } from './certificates.ts'
export { type FastKitchen, fastKitchenCommand, listFastKitchens } from './fast-kitchen/fast-kitchen.ts'
export { createSigningKey, type SigningKey, TestIdentityProvider, type TokenWish } from './identity-provider.ts'
export type { KitchenState } from './kitchen/context.ts'
export { createKitchen, type Kitchen, type KitchenPorts } from './kitchen/kitchen.ts'
export { type KitchenOptions, kitchenDefaults, parseKitchenFlags } from './kitchen/options.ts'
export { freePort, measureStart, type StartTimes } from './measure-start.ts'
export { connectRaw, type RawConnection, type RawExchange, type RawTarget, rawRequest } from './raw-client.ts'
export { type ParseContext, type ParsedResponse, parseRawResponse, type RawResponse } from './raw-response.ts'
export { request, type TestRequest, type TestResponse } from './request.ts'
export { kitchenCommand, type StartedKitchen, type StartKitchenOptions, startKitchen } from './start-kitchen.ts'
export { createTestLogger, type LogRecord, type TestLogger } from './test-logger.ts'
export {
  createRecorder,
  eventually,
  type Recorder,
  type WaitOptions,
  waitForEvent,
  waitForLine,
  within,
} from './wait.ts'
export { type ClaimedPorts, claimPorts } from './waiter/claim-ports.ts'
export { type Guard, startGuard } from './waiter/guard.ts'
export { makeZombie, type Zombie } from './waiter/make-zombie.ts'
export { isRunning, type ListedProcess, listProcesses, residentBytes } from './waiter/processes.ts'
export {
  type ReadyLine,
  runWaiter,
  type StartedWaiter,
  type StartWaiterOptions,
  startWaiter,
  type WaiterRun,
} from './waiter/start-waiter.ts'
export { connectWebSocket, type TestWebSocket, type WebSocketTarget } from './web-socket/client.ts'
export { encodeFrame, type FrameParts, OPCODE } from './web-socket/frames.ts'
export {
  CLOSE_CODE,
  computeAcceptKey,
  createMessageReader,
  encodeClose,
  type MessageLimits,
  type WebSocketMessage,
} from './web-socket/messages.ts'
