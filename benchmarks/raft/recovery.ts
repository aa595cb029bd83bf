import { createPrng } from '@waiter/base'
import { type Entry, encodeCommand } from '../../packages/raft-ts/src/index.ts'
import {
  KeyValueStateMachine,
  openWal,
  RaftNode,
  type RaftNodeEvent,
  type Transport,
} from '../../packages/raft-ts/src/node/index.ts'

/** How long a node takes to come back with a long log. */
export interface Recovery {
  readonly logBytes: number
  readonly entries: number
  /** Until the log has been read and checked. */
  readonly openMs: number
  /** Until all of it is applied and the node leads: what a single node needs before it serves. */
  readonly readyMs: number
}

const BATCH_ENTRIES = 500
const alone: Transport = {
  start: async () => undefined,
  send: () => undefined,
  sendSnapshot: async () => undefined,
  stop: async () => undefined,
}

/** Writes a log of this size without a snapshot, and starts a node from it. */
export async function measureRecovery(directory: string, logBytes: number, valueBytes: number): Promise<Recovery> {
  const members = [1]
  const limits = { snapshotEveryBytes: Number.POSITIVE_INFINITY, snapshotEveryEntries: Number.POSITIVE_INFINITY }
  const start = async () => {
    const storage = await openWal({ directory })
    const openedMs = performance.now()
    const { promise: leads, resolve } = Promise.withResolvers<void>()
    const onEvent = (event: RaftNodeEvent): void => {
      if (event.kind === 'leaderChanged' && event.role === 'leader') resolve()
    }
    const options = { id: 1, storage, transport: alone, machine: new KeyValueStateMachine(), limits, onEvent }
    return { openedMs, leads, node: await RaftNode.start({ ...options, bootstrap: members }) }
  }
  const first = await start()
  await first.node.stop()
  const entries = await fill(directory, logBytes, valueBytes)
  const beganMs = performance.now()
  const { openedMs, leads, node } = await start()
  node.campaign()
  await leads
  const applied = await node.read()
  const readyMs = performance.now() - beganMs
  if (applied < entries) throw new Error(`${applied} of ${entries} entries were recovered`)
  await node.stop()
  return { logBytes, entries, openMs: openedMs - beganMs, readyMs }
}

async function fill(directory: string, logBytes: number, valueBytes: number): Promise<number> {
  const wal = await openWal({ directory })
  const random = createPrng(1)
  const value = 'v'.repeat(valueBytes)
  let index = wal.reader.lastIndex()
  const written = wal.metrics.bytesWritten
  while (wal.metrics.bytesWritten - written < logBytes) {
    const entries = Array.from({ length: BATCH_ENTRIES }, (): Entry => {
      const key = `key-${random.below(1000)}`
      const write = {
        kind: 'write',
        session: 0,
        sequence: 0,
        firstPending: 0,
        key,
        expected: undefined,
        value,
      } as const
      return { kind: 'normal', index: ++index, term: 1, data: encodeCommand(write) }
    })
    await wal.write({ hardState: { term: 1, vote: 1, commit: index - BATCH_ENTRIES }, snapshot: undefined, entries })
  }
  await wal.close()
  return index
}
