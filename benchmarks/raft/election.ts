import { PutClient } from './put-client.ts'
import type { RaftTsCluster } from './raft-ts-cluster.ts'

/** What one kill of the leader cost. */
export interface Failover {
  /** Until the next leader said so of itself. */
  readonly electedMs: number
  /** Until a client's write was acknowledged by it. */
  readonly writableMs: number
}

/** SIGKILLs the leader `kills` times; each time it is started again and has caught up before the next. */
export async function measureFailovers(cluster: RaftTsCluster, kills: number): Promise<Failover[]> {
  const failovers: Failover[] = []
  for (let kill = 0; kill < kills; kill++) {
    const { id, atMs } = await cluster.killLeader()
    const address = await cluster.leaderAddress()
    const electedMs = performance.timeOrigin + performance.now() - atMs
    const client = new PutClient(address)
    while (!(await client.put(`kill-${kill}`, 'x').then(isTrue, isFalse))) {
      // The new leader may not have committed its first entry; ask again at once.
    }
    const writableMs = performance.timeOrigin + performance.now() - atMs
    client.close()
    failovers.push({ electedMs, writableMs })
    await cluster.restart(id)
  }
  return failovers
}

const isTrue = (): boolean => true
const isFalse = (): boolean => false
