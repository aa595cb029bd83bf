/**
 * What every other package stands on: results, errors, ids, seeded chance, the logging port, the queue of the simulators.
 * Pure: no Node API, no clock, no randomness of its own.
 */
export { AssertionFailed, assert, assertNever } from './assert.ts'
export { EventQueue } from './event-queue.ts'
export type { Brand, InstanceId, Millis, RouterId, ServiceId, Term } from './ids.ts'
export { type Logger, silentLogger } from './logger.ts'
export { md5 } from './md5.ts'
export { createPrng, type Prng } from './prng.ts'
export { err, ok, type Result } from './result.ts'
export { WaiterError, type WaiterErrorOptions } from './waiter-error.ts'
