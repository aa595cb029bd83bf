/** A string or number that must not be confused with another of the same shape. */
export type Brand<T, Name extends string> = T & { readonly __brand?: Name }

/** `waiter-service-<name>-<hash>`: names one immutable service description (spec §2.4). */
export type ServiceId = Brand<string, 'ServiceId'>
/** `<service-id>.<unique>`: names one run of one instance; never reused. */
export type InstanceId = Brand<string, 'InstanceId'>
/** Names one router process for its life; a restarted router has a new one. */
export type RouterId = Brand<string, 'RouterId'>
/** Leadership epoch; grows with every new leader. A safe integer. */
export type Term = Brand<number, 'Term'>
/** Milliseconds since the epoch, or a duration in milliseconds where the name says so. */
export type Millis = Brand<number, 'Millis'>
