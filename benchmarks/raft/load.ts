import type { Cluster } from './cluster.ts'
import { PutClient } from './put-client.ts'

/** What one round of writes measured. */
export interface Round {
  readonly writes: number
  readonly errors: number
  readonly seconds: number
  readonly latenciesMs: readonly number[]
}

/** How the writes look; the same for everybody. */
export interface Load {
  readonly proposers: number
  readonly seconds: number
  readonly valueBytes: number
}

/** Proposers that share a connection: HTTP/2 streams on one socket. */
const PROPOSERS_PER_CONNECTION = 64
/** Keys that are overwritten again and again: a token store is small. */
const KEYS = 1000
/** Not measured: connections are made, code is compiled. */
const WARM_UP_SECONDS = 0.5

/** Writes to a cluster's leader through etcd's gRPC API: the same client for everybody. */
export async function writeFor(cluster: Cluster, load: Load): Promise<Round> {
  const address = await cluster.leaderAddress()
  const connections = Math.ceil(load.proposers / PROPOSERS_PER_CONNECTION)
  const clients = Array.from({ length: connections }, () => new PutClient(address))
  const round = await driveLoad(load, (key, value, proposer) => clients[proposer % connections]!.put(key, value))
  for (const client of clients) client.close()
  return round
}

/** Closed loop: each proposer sends its next write when the one before is acknowledged. */
export async function driveLoad(
  { proposers, seconds, valueBytes }: Load,
  put: (key: string, value: string, proposer: number) => Promise<unknown>,
): Promise<Round> {
  const value = 'v'.repeat(valueBytes)
  const latenciesMs: number[] = []
  let errors = 0
  const startMs = performance.now() + WARM_UP_SECONDS * 1000
  const endMs = startMs + seconds * 1000
  const propose = async (proposer: number): Promise<void> => {
    for (let turn = 0; performance.now() < endMs; turn++) {
      const sentMs = performance.now()
      try {
        await put(`key-${(proposer * 7919 + turn) % KEYS}`, value, proposer)
        if (sentMs >= startMs && performance.now() <= endMs) latenciesMs.push(performance.now() - sentMs)
      } catch {
        errors++
        // A member that refuses everything must not make this a busy loop.
        await new Promise(resolve => setTimeout(resolve, 5))
      }
    }
  }
  await Promise.all(Array.from({ length: proposers }, (_, proposer) => propose(proposer)))
  return { writes: latenciesMs.length, errors, seconds, latenciesMs }
}
