import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { createPrng, type Logger, silentLogger } from '@waiter/base'
import t from 'tap'
import { compareKeys, type FileSystem, type KeyValueStore, nodeFileSystem, openJournalStore } from '../src/index.ts'
import { crc32c } from '../src/journal/crc32c.ts'
import { FILE_HEAD_BYTES } from '../src/journal/frames.ts'
import { nodeProcesses } from '../src/journal/lock.ts'
import { createCrashFileSystem } from './crash-file-system.ts'

const processes = { self: 'me', isRunning: () => false }
const JOURNAL = 'journal-0000000000000000'

async function writeOneByOne(store: KeyValueStore, keys: readonly string[]) {
  for (const key of keys) await store.compareAndSet(key, 0, `value of ${key}`)
}

async function filled() {
  const fileSystem = createCrashFileSystem()
  const open = (log: Logger = silentLogger) => openJournalStore({ directory: '/d', log, fileSystem, processes })
  await writeOneByOne(await open(), ['a', 'b', 'c'])
  return { fileSystem, open, bytes: Buffer.from(fileSystem.bytesOf(JOURNAL)) }
}

t.test('CRC-32C gives the published check values', async t => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
  t.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa)
  t.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43)
  t.equal(crc32c(Buffer.from('6789'), crc32c(Buffer.from('12345'))), 0xe3069283)
})

t.test('keys are ordered like their UTF-8 bytes', async t => {
  const prng = createPrng(5)
  const units = ['', 'a', 'b', '\u0000', 'é', '\ue000', '\uffff', '😀', '𝒳']
  const key = () => Array.from({ length: 3 }, () => units[prng.below(units.length)]).join('')
  for (let run = 0; run < 1000; run++) {
    const [a, b] = [key(), key()]
    t.equal(Math.sign(compareKeys(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)), JSON.stringify([a, b]))
  }
})

t.test('a journal cut anywhere keeps every whole record before the cut, and says what it drops', async t => {
  const { bytes } = await filled()
  const counts: number[] = []
  for (let length = FILE_HEAD_BYTES; length <= bytes.length; length++) {
    const fileSystem = createCrashFileSystem()
    fileSystem.setBytes(JOURNAL, bytes.subarray(0, length))
    const warnings: unknown[] = []
    const log = { ...silentLogger, warn: (fields: object) => void warnings.push(fields) }
    const store = await openJournalStore({ directory: '/d', log, fileSystem, processes })
    const values: string[] = []
    for await (const { value } of store.list('')) values.push(value)
    t.same(values, ['value of a', 'value of b', 'value of c'].slice(0, values.length))
    const isBetweenRecords = counts.at(-1) !== values.length
    t.equal(warnings.length, isBetweenRecords ? 0 : 1, `at ${length} of ${bytes.length}`)
    counts.push(values.length)
  }
  t.same([...new Set(counts)], [0, 1, 2, 3])
})

t.test(
  'a flipped bit before the last record refuses to start; nothing but the last record is ever dropped',
  async t => {
    const { bytes } = await filled()
    const lastFrame = bytes.lastIndexOf(bytes.subarray(FILE_HEAD_BYTES, FILE_HEAD_BYTES + 4))
    for (let at = 0; at < bytes.length; at++) {
      const fileSystem = createCrashFileSystem()
      const broken = Buffer.from(bytes)
      broken[at] = (broken[at] as number) ^ 0x10
      fileSystem.setBytes(JOURNAL, broken)
      const opening = openJournalStore({ directory: '/d', log: silentLogger, fileSystem, processes })
      if (at < lastFrame) {
        const failure = await opening.then(
          () => undefined,
          error => error,
        )
        t.match(failure, { code: 'WTR_STORE_CORRUPT', details: { file: `/d/${JOURNAL}` } }, `at ${at}`)
        t.match(failure?.message, /damaged at byte \d+: .*Restore the directory from a backup/)
        t.ok(failure.details.offsetBytes <= at && at < bytes.length)
        t.same(fileSystem.bytesOf(JOURNAL), broken, 'and changes nothing')
        t.notOk(fileSystem.names().includes('lock'), 'and gives the lock back')
      } else t.equal(await (await opening).get('c'), undefined, `at ${at}`)
    }
  },
)

t.test('files that are missing or cut are noticed', async t => {
  const fileSystem = createCrashFileSystem()
  const open = () =>
    openJournalStore({ directory: '/d', log: silentLogger, fileSystem, processes, journalBytesMax: 10 })
  const store = await open()
  await writeOneByOne(store, ['a'])
  await store.close()
  t.same(fileSystem.names().sort(), ['journal-0000000000000001', 'snapshot-0000000000000001'])
  const snapshot = fileSystem.bytesOf('snapshot-0000000000000001')
  fileSystem.setBytes('snapshot-0000000000000001', snapshot.subarray(0, snapshot.length - 1))
  await t.rejects(open(), { code: 'WTR_STORE_CORRUPT', message: /snapshot is broken or incomplete/ })
  fileSystem.setBytes('snapshot-0000000000000001', snapshot)
  await fileSystem.remove('journal-0000000000000001')
  await t.rejects(open(), { code: 'WTR_STORE_CORRUPT', message: /journal-0{15}1 .*the file is missing/ })
})

t.test('a snapshot that was lost under a journal in use is noticed', async t => {
  const fileSystem = createCrashFileSystem()
  const open = (journalBytesMax: number) =>
    openJournalStore({ directory: '/d', log: silentLogger, fileSystem, processes, journalBytesMax })
  const store = await open(150)
  await writeOneByOne(store, ['a', 'b', 'c', 'd', 'e'])
  const snapshot = fileSystem.names().find(name => name.startsWith('snapshot')) as string
  await fileSystem.remove(snapshot)
  await t.rejects(open(150), { code: 'WTR_STORE_CORRUPT', message: /snapshot-\d+ is damaged .*the file is missing/ })
})

t.test('concurrent writers share a sync', async t => {
  let syncs = 0
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    open: async (path, mode) => {
      const file = await nodeFileSystem.open(path, mode)
      return {
        ...file,
        sync: () => {
          syncs++
          return file.sync()
        },
      }
    },
  }
  const store = await openJournalStore({ directory: t.testdir(), log: silentLogger, fileSystem })
  t.teardown(() => store.close())
  syncs = 0
  await Promise.all(Array.from({ length: 64 }, (_, at) => store.compareAndSet(`${at}`, 0, 'x')))
  t.ok(syncs <= 2, `${syncs} syncs for 64 writes`)
})

t.test('nothing is told, nor shown, before the sync', async t => {
  const gate = Promise.withResolvers<void>()
  let isGated = false
  const inner = createCrashFileSystem()
  const fileSystem: FileSystem = {
    ...inner,
    open: async (path, mode) => {
      const file = await inner.open(path, mode)
      return { ...file, sync: () => (isGated ? gate.promise : file.sync()) }
    },
  }
  const store = await openJournalStore({ directory: '/d', log: silentLogger, fileSystem, processes })
  isGated = true
  const told: string[] = []
  const writing = store.compareAndSet('a', 0, '1').then(() => told.push('written'))
  const losing = store.compareAndSet('a', 0, '2').then(() => told.push('conflict'))
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
  t.same(told, [])
  t.equal(await store.get('a'), undefined)
  const waiting = Array.from({ length: 10_000 }, () => store.compareAndSet('b', 5, ''))
  await t.rejects(store.compareAndSet('c', 0, ''), { code: 'WTR_STORE_UNAVAILABLE', message: /overloaded/ })
  gate.resolve()
  await Promise.all([writing, losing, ...waiting])
  t.same(told, ['written', 'conflict'])
})

t.test('one process per directory', async t => {
  const directory = t.testdir()
  const open = () => openJournalStore({ directory, log: silentLogger })
  const store = await open()
  await t.rejects(open(), { code: 'WTR_STORE_UNAVAILABLE', message: new RegExp(`in use by process ${process.pid}`) })
  await store.close()
  const [, startTime, bootId] = nodeProcesses.self.split(' ')
  const rows = [
    ['a process that is gone', `4194305 ${startTime} ${bootId}`],
    ['the same pid, started at another time', `${process.pid} 1 ${bootId}`],
    ['the same pid before the machine was restarted', `${process.pid} ${startTime} other-boot`],
    ['half a lock', ''],
  ] as const
  for (const [row, holder] of rows) {
    writeFileSync(`${directory}/lock`, holder)
    await (await open()).close()
    t.notOk(readdirSync(directory).includes('lock'), row)
  }
})

t.test('of many who find a stale lock one gets it', async t => {
  const fileSystem = createCrashFileSystem()
  fileSystem.setBytes('lock', Buffer.from('gone'))
  const contenders = Array.from({ length: 8 }, (_, at) => ({
    self: `p${at}`,
    isRunning: (id: string) => id !== 'gone',
  }))
  const results = await Promise.allSettled(
    contenders.map(processes => openJournalStore({ directory: '/d', log: silentLogger, fileSystem, processes })),
  )
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 1)
})

t.test('the real file system: private files, nested directories, failures pass through', async t => {
  const directory = `${t.testdir()}/x/y`
  const store = await openJournalStore({ directory, log: silentLogger })
  await store.compareAndSet('a', 0, '1')
  t.equal(statSync(`${directory}/${JOURNAL}`).mode & 0o777, 0o600)
  t.equal(statSync(directory).mode & 0o777, 0o700)
  await store.close()
  mkdirSync(`${directory}/${JOURNAL}x`)
  await t.rejects(nodeFileSystem.read(`${directory}/${JOURNAL}x`), { code: 'EISDIR' })
  t.equal(await nodeFileSystem.read(`${directory}/none`), undefined)
})
