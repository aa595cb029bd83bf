import { hkdfSync } from 'node:crypto'

/** What one cluster secret gives: a name for itself, a key for packets and one for streams. */
export interface ClusterKey {
  /** Eight hexadecimal digits that tell which secret it is, and nothing about it. */
  readonly name: string
  readonly packets: Buffer
  readonly streams: Buffer
}

/** Shorter secrets can be guessed. */
export const SECRET_BYTES_MIN = 16
const KEY_BYTES = 32
const NAME_BYTES = 4

/** The cluster's label is part of the keys: one secret for two clusters does not let them speak to each other. */
export function deriveKey(secret: string, cluster: string): ClusterKey {
  const derive = (purpose: string, bytes: number): Buffer =>
    Buffer.from(hkdfSync('sha256', secret, `waiter gossip ${purpose}`, cluster, bytes))
  return {
    name: derive('name', NAME_BYTES).toString('hex'),
    packets: derive('packets', KEY_BYTES),
    streams: derive('streams', KEY_BYTES),
  }
}
