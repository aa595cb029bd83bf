import type { AsyncTicket } from '../../src/async/async-tickets.ts'

/** A ticket for a request of `router-9`. */
export function exampleTicket(changes: Partial<AsyncTicket> = {}): AsyncTicket {
  return {
    requestId: 'r-1',
    routerId: 'router-9',
    serviceId: 'waiter-service-hello',
    instanceId: 'waiter-service-hello.a',
    location: '/status',
    acceptedAtMs: 1_000,
    requestTimeoutMs: 60_000,
    checkIntervalMs: 3_000,
    isOpen: false,
    isPreauthorized: true,
    ...changes,
  }
}
