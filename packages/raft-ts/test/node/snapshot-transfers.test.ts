import t from 'tap'
import { crc32c, EMPTY_CONF, type MsgSnap, NO_DATA, type SnapshotChunk } from '../../src/index.ts'
import { MemoryDisk, MemoryLogStorage, type Transport } from '../../src/node/index.ts'
import { SnapshotTransfers } from '../../src/node/snapshot-transfers.ts'

const snapshot = { index: 5, term: 1, conf: EMPTY_CONF, data: NO_DATA }
const message: MsgSnap = { type: 'MsgSnap', from: 1, to: 2, term: 1, snapshot }
const BYTES = Buffer.from('state')
const chunk = (offset: number, end: number): SnapshotChunk => {
  const bytes = BYTES.subarray(offset, end)
  return { offset, bytes, crc32c: crc32c(bytes), totalBytes: BYTES.length }
}

/** Its peers take nothing and say nothing. */
const silent: Transport = {
  start: async () => undefined,
  send: () => undefined,
  sendSnapshot: (_message, chunks, signal) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason))
      const iterator = chunks[Symbol.asyncIterator]()
      iterator.next().catch(reject)
    }),
  stop: async () => undefined,
}

const transfersOf = (storage = new MemoryLogStorage(new MemoryDisk())) => {
  const limits = { timeoutTicks: 100, stallTicks: 3, maxSnapshotBytes: 1000 }
  return new SnapshotTransfers({ storage, transport: silent, ...limits })
}

async function* thenSilence(...chunks: readonly SnapshotChunk[]): AsyncGenerator<SnapshotChunk> {
  yield* chunks
  await new Promise(() => undefined)
}
async function* all(): AsyncGenerator<SnapshotChunk> {
  yield chunk(0, 3)
  yield chunk(3, 5)
}

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

t.test('a sender that falls silent does not keep the next one out', async t => {
  const transfers = transfersOf()
  const receiving = transfers.receive(message, thenSilence(chunk(0, 3)))
  const ended = t.rejects(receiving, { code: 'RAFT_SNAPSHOT_FAILED', message: /Nothing moved for too long/ })
  await turn()
  await t.rejects(transfers.receive(message, all()), { message: /Another one is being received/ })
  for (let tick = 0; tick < 3; tick++) transfers.tick()
  await ended
  await transfers.receive(message, all())
  transfers.done()
})

t.test('a slow sender is waited for as long as pieces come', async t => {
  const transfers = transfersOf()
  const steps = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  async function* slowly(): AsyncGenerator<SnapshotChunk> {
    yield chunk(0, 3)
    await steps[0]!.promise
    yield chunk(3, 4)
    await steps[1]!.promise
    yield chunk(4, 5)
  }
  const receiving = transfers.receive(message, slowly())
  for (const { resolve } of steps) {
    await turn()
    transfers.tick()
    transfers.tick()
    resolve()
  }
  await t.resolves(receiving)
})

t.test('a receiver that falls silent is given up', async t => {
  const storage = new MemoryLogStorage(new MemoryDisk())
  await storage.saveSnapshot(snapshot, [BYTES])
  const transfers = transfersOf(storage)
  const ended = t.rejects(transfers.send(message), { message: /Nothing moved for too long/ })
  for (let tick = 0; tick < 4; tick++) {
    await turn()
    transfers.tick()
  }
  await ended
})
