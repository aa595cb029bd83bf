import { createHmac, hkdfSync } from 'node:crypto'

/**
 * The password by which instances of a service know Waiter (spec §1.5, `WAITER_PASSWORD`): HMAC of the service id under
 * a key derived from the cluster secret, so that one service's password tells nothing about another's.
 */
export function createPasswordFor(clusterSecret: string): (serviceId: string) => string {
  const key = Buffer.from(hkdfSync('sha256', clusterSecret, 'waiter', 'service-password v1', 32))
  return serviceId => createHmac('sha256', key).update(serviceId).digest('hex')
}
