import { createPrng, type Logger, silentLogger } from '@waiter/base'
import t from 'tap'
import type { LogStorage, WalOptions } from '../../src/node/index.ts'
import { openWal, type RaftNodeError } from '../../src/node/index.ts'
import { FaultDisk } from './support/fault-disk.ts'
import { entries, entry, readAll } from './support/log-storage-contract.ts'

const DIRECTORY = '/raft'
const CONF = { voters: [1, 2, 3], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }
let salt = 0

const open = (disk: FaultDisk, options: Partial<WalOptions> = {}) =>
  openWal({ directory: DIRECTORY, fileSystem: disk.open(), newSalt: () => ++salt, ...options })

const append = (log: LogStorage, from: number, to: number, commit: number) =>
  log.write({ hardState: { term: 1, vote: 1, commit }, snapshot: undefined, entries: entries(from, to, 1) })

const failure = async (work: Promise<unknown>): Promise<RaftNodeError> => {
  try {
    await work
  } catch (error) {
    return error as RaftNodeError
  }
  throw new Error('it did not fail')
}

const lines: string[] = []
const log: Logger = { ...silentLogger, warn: (fields, message) => lines.push(`${message} ${JSON.stringify(fields)}`) }

const lastSegment = (disk: FaultDisk): string => disk.names().findLast(name => name.endsWith('.wal'))!

t.test('D2 a last record that is cut off anywhere is repaired, with a line in the log', async t => {
  const disk = new FaultDisk()
  const wal = await open(disk)
  await append(wal, 1, 3, 0)
  const before = disk.bytesOf(lastSegment(disk)).length
  await append(wal, 4, 4, 3)
  await wal.close()
  const whole = Buffer.from(disk.bytesOf(lastSegment(disk)))
  for (let length = before + 1; length < whole.length; length++) {
    disk.setBytes(lastSegment(disk), Buffer.from(whole.subarray(0, length)))
    lines.length = 0
    const again = await open(disk, { log })
    t.equal(again.reader.lastIndex(), 3)
    // A whole checkpoint of the torn batch may stand; only what is broken is cut off.
    if (disk.bytesOf(lastSegment(disk)).length < length) t.match(lines[0], /cut off an unfinished write.*"offset"/)
    await append(again, 4, 5, 3)
    t.equal(again.reader.lastIndex(), 5)
    await again.close()
  }
})

t.test(
  'D10 a byte that went bad in what was durable stops the node, naming file and byte, whichever it is',
  async t => {
    const disk = new FaultDisk()
    const wal = await open(disk)
    for (let index = 1; index <= 4; index++) await append(wal, index, index, index - 1)
    const durable = disk.bytesOf(lastSegment(disk)).length
    await append(wal, 5, 5, 4)
    await wal.close()
    const whole = Buffer.from(disk.bytesOf(lastSegment(disk)))
    for (let at = 0; at < durable; at++) {
      const damaged = Buffer.from(whole)
      damaged[at] = damaged[at]! ^ 0x40
      disk.setBytes(lastSegment(disk), damaged)
      const error = await failure(open(disk))
      t.match(error, { code: 'RAFT_LOG_CORRUPT', message: /0000000000000001\.wal is damaged at byte \d+/ })
      t.match(error.message, /join again with an empty directory and a new id/)
      t.ok((error.details.offset as number) <= at, `byte ${at}: ${error.details.offset}`)
      t.same(disk.bytesOf(lastSegment(disk)), damaged, 'nothing is changed')
    }
  },
)

t.test('damage in an earlier file, a missing file and a missing snapshot stop the node', async t => {
  const make = async (): Promise<FaultDisk> => {
    const disk = new FaultDisk()
    const wal = await open(disk, { segmentBytesMax: 60 })
    for (let index = 1; index <= 8; index++) await append(wal, index, index, index - 1)
    await wal.saveSnapshot({ index: 3, term: 1, conf: CONF }, [Buffer.from('three')])
    await wal.compact(3)
    await wal.close()
    return disk
  }
  const [earlier, missing, snapshot, content] = await Promise.all([make(), make(), make(), make()])
  const wals = earlier.names().filter(name => name.endsWith('.wal'))
  t.ok(wals.length > 2)
  earlier.setBytes(wals[0]!, earlier.bytesOf(wals[0]!).subarray(0, -3))
  t.match(await failure(open(earlier)), { code: 'RAFT_LOG_CORRUPT', message: /a later file was begun/ })
  missing.removeFile(wals[1]!)
  t.match(await failure(open(missing)), { code: 'RAFT_LOG_CORRUPT', message: /is missing, but later ones are there/ })
  const name = snapshot.names().find(file => file.endsWith('.snapshot'))!
  snapshot.removeFile(name)
  t.match(await failure(open(snapshot)), { code: 'RAFT_LOG_CORRUPT', message: /entries 1 to \d+ are missing/ })
  const bytes = Buffer.from(content.bytesOf(name))
  bytes[bytes.indexOf('three')]! ^= 1
  content.setBytes(name, bytes)
  const source = (await (await open(content)).openSnapshot({ index: 3, term: 1 }))!
  const read = async () => {
    for await (const _ of source.chunks());
  }
  t.match(await failure(read()), { code: 'RAFT_LOG_CORRUPT', message: /this snapshot was durable/ })
})

t.test('a log that ends before its own commit index stops the node', async t => {
  const disk = new FaultDisk()
  const wal = await open(disk, { segmentBytesMax: 1 })
  await append(wal, 1, 3, 0)
  wal.noteCommit(3)
  await wal.close()
  const last = lastSegment(disk)
  for (const name of disk.names()) if (name !== last) disk.removeFile(name)
  const error = await failure(open(disk))
  t.match(error, { code: 'RAFT_LOG_CORRUPT', details: { commit: 3, lastIndex: 0 } })
  t.match(error.message, /in \/raft ends at entry 0, but says itself that 3 was committed/)
})

t.test('bytes that a client chose never look like a record of the log', async t => {
  const disk = new FaultDisk()
  const wal = await open(disk)
  await append(wal, 1, 2, 0)
  const start = disk.bytesOf(lastSegment(disk)).length
  await append(wal, 3, 3, 2)
  const record = Buffer.from(disk.bytesOf(lastSegment(disk)).subarray(start))
  await wal.close()
  // A value that holds a whole batch of another file, and is torn behind it.
  const victim = new FaultDisk()
  const other = await open(victim)
  await append(other, 1, 2, 0)
  const value = Buffer.concat([Buffer.alloc(200), record, Buffer.alloc(200)])
  const evil = [{ kind: 'normal', index: 3, term: 1, data: value }] as const
  await other.write({ hardState: undefined, snapshot: undefined, entries: evil })
  await other.close()
  victim.setBytes(lastSegment(victim), victim.bytesOf(lastSegment(victim)).subarray(0, -50))
  t.equal((await open(victim)).reader.lastIndex(), 2, 'torn, not damaged')
})

t.test('D8 a failed sync fails every later call with the same error, and the disk is not asked again', async t => {
  const disk = new FaultDisk()
  const wal = await open(disk)
  await append(wal, 1, 1, 0)
  disk.failAt = { call: disk.calls + 2, code: 'EIO' }
  const error = await failure(append(wal, 2, 2, 1))
  t.match(error, { code: 'RAFT_LOG_FAILED', outcome: 'unknown', message: /raft log in \/raft.*EIO/ })
  const { calls } = disk
  t.equal(await failure(append(wal, 3, 3, 1)), error)
  t.equal(await failure(wal.saveSnapshot({ index: 1, term: 1, conf: CONF }, [])), error)
  t.equal(await failure(wal.receiveSnapshot({ index: 9, term: 1, conf: CONF })), error)
  t.equal(disk.calls, calls)
  t.equal(wal.reader.lastIndex(), 1, 'what is not durable is not seen')
  await wal.close()
})

t.test('every call to the disk may fail: what was resolved is there at the next start', async t => {
  for (let call = 1; ; call++) {
    const disk = new FaultDisk()
    disk.failAt = { call, code: 'ENOSPC' }
    let resolved = 0
    const run = async (): Promise<void> => {
      const wal = await open(disk, { segmentBytesMax: 100 })
      for (let index = 1; index <= 6; index++) {
        await append(wal, index, index, index - 1)
        resolved = index
        if (index !== 4) continue
        await wal.saveSnapshot({ index: 4, term: 1, conf: CONF }, [Buffer.from('four')])
        await wal.compact(3)
      }
      await wal.close()
    }
    const isFailed = await run().then(
      () => false,
      () => true,
    )
    disk.crash()
    disk.restart('everything unsynced is lost', createPrng(call))
    const again = await open(disk)
    t.ok(again.reader.lastIndex() >= resolved, `call ${call}: ${again.reader.lastIndex()} of ${resolved}`)
    await again.close()
    if (!isFailed) break
  }
})

t.test('what could be read once stays: it is synced before anything is built on it', async t => {
  const disk = new FaultDisk()
  const wal = await open(disk)
  await append(wal, 1, 1, 0)
  // Killed between write and sync.
  disk.onCall = (_, what) => what.startsWith('sync') && disk.crash()
  append(wal, 2, 2, 1).catch(() => undefined)
  await new Promise(resolve => setImmediate(resolve))
  disk.onCall = () => undefined
  disk.restart('the power stayed on', createPrng(1))
  t.equal((await open(disk)).reader.lastIndex(), 2)
  disk.crash()
  disk.restart('everything unsynced is lost', createPrng(1))
  t.equal((await open(disk)).reader.lastIndex(), 2)
})

t.test('D4 a received snapshot whose record was lost in a crash replaces a log that disagrees, for good', async t => {
  for (const [what, id, expected] of [
    ['the log disagrees there', { index: 2, term: 5 }, [2, 2]],
    ['the log is shorter', { index: 9, term: 5 }, [9, 9]],
    ['the log agrees there', { index: 2, term: 1 }, [2, 4]],
  ] as const) {
    const disk = new FaultDisk()
    const wal = await open(disk)
    await append(wal, 1, 4, 0)
    const sink = await wal.receiveSnapshot({ ...id, conf: CONF })
    await sink.finish()
    // The name is durable, the record that names it is not.
    let isNamed = false
    disk.onCall = (_, call) => {
      isNamed ||= call.startsWith('rename')
      if (isNamed && call.startsWith('append')) disk.crash()
    }
    const snapshot = { ...id, conf: CONF }
    wal.write({ hardState: { term: 5, vote: 0, commit: id.index }, snapshot, entries: [] }).catch(() => undefined)
    await new Promise(resolve => setImmediate(resolve))
    disk.onCall = () => undefined
    disk.restart('everything unsynced is lost', createPrng(1))
    const again = await open(disk)
    t.same([again.snapshot?.index, again.reader.lastIndex()], expected, what)
    t.ok(again.reader.initialState().hardState.term >= id.term)
    t.ok(again.reader.initialState().hardState.commit >= id.index)
    const next = again.reader.lastIndex() + 1
    await again.write({ hardState: undefined, snapshot: undefined, entries: [entry(next, 5)] })
    await again.close()
    const third = await open(disk)
    t.equal(third.reader.lastIndex(), next, `${what}: and goes on from there`)
    t.equal(readAll(third).at(-1)?.term, 5)
    await third.close()
  }
})

t.test('writes that overlap share one sync; old files go when a snapshot covers them', async t => {
  const disk = new FaultDisk()
  const wal = await open(disk, { segmentBytesMax: 2000 })
  const before = wal.metrics.syncs
  await Promise.all(Array.from({ length: 50 }, (_, at) => append(wal, at + 1, at + 1, 0)))
  t.equal(wal.metrics.syncs - before, 1)
  for (let index = 51; index <= 150; index++) await append(wal, index, index, index - 1)
  const many = wal.metrics.segments
  t.ok(many >= 3, `${many} files`)
  await wal.saveSnapshot({ index: 140, term: 1, conf: CONF }, [Buffer.from('state')])
  t.equal(wal.metrics.segments, many, 'the log stays until it is compacted')
  await wal.compact(140)
  t.ok(wal.metrics.segments < many)
  await wal.close()
  const again = await open(disk)
  t.same([again.reader.firstIndex(), again.reader.lastIndex()], [141, 150])
  await again.close()
})

t.test('left-over temporary files are removed', async t => {
  const disk = new FaultDisk()
  await (await open(disk)).close()
  disk.setBytes(`${DIRECTORY}/0000000000000009-0000000000000001.snapshot.tmp`, Buffer.from('half'))
  disk.setBytes(`${DIRECTORY}/0000000000000002.wal.tmp`, Buffer.from('half'))
  await (await open(disk)).close()
  t.same(disk.names(), [`${DIRECTORY}/0000000000000001.wal`])
})
