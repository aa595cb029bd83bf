import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mock } from 'node:test'
import { silentLogger } from '@waiter/base'
import { eventually } from '@waiter/testkit'
import t from 'tap'
import { LogFile, type LogFileOptions, type LogFileSystem } from '../../src/access-log/log-file.ts'

const QUEUE_BYTES_MAX = 8 * 1024 * 1024
const CHUNK_BYTES = 512 * 1024

/** A log in a directory of the test's own. */
function logIn(
  t: { testdir(): string },
  changes: Partial<LogFileOptions> = {},
): { readonly log: LogFile; readonly path: string } {
  const path = changes.path ?? join(t.testdir(), 'logs', 'requests.log')
  const log = new LogFile({
    path,
    bytesMax: 1024 * 1024,
    filesMax: 3,
    log: silentLogger,
    nowMs: () => performance.now(),
    ...changes,
  })
  return { log, path }
}

function append(log: LogFile, text: string): void {
  const line = Buffer.from(`${text}\n`)
  log.append(line, line.length)
}

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1)
const numbered = (count: number, from = 0): string[] => Array.from({ length: count }, (_, i) => `line ${from + i}`)

/** Retries and pauses come when the test says so. */
function useFakeTimers(t: { teardown(callback: () => void): void }): void {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
}

/** Lets everything happen that needs no time. */
async function settle(isReached: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1_000 && !isReached(); turn++) await new Promise(setImmediate)
}

/** A disk in the test's hands: takes writes in pieces, fails when told, keeps what was written by path. */
class FakeDisk implements LogFileSystem {
  readonly contents = new Map<string, string>()
  readonly #open = new Map<number, string>()
  #lastFd = 0
  failure: { readonly code: string; readonly on: 'open' | 'write' } | undefined
  pieceBytes = Number.POSITIVE_INFINITY
  writes = 0
  onWritten: () => void = () => undefined

  async open(path: string): Promise<number> {
    if (this.failure?.on === 'open') throw Object.assign(new Error('no'), { code: this.failure.code })
    if (!this.contents.has(path)) this.contents.set(path, '')
    this.#open.set(++this.#lastFd, path)
    return this.#lastFd
  }

  async close(fd: number): Promise<void> {
    this.#open.delete(fd)
  }

  async write(fd: number, bytes: Uint8Array, offset: number, length: number): Promise<number> {
    if (this.failure?.on === 'write') throw Object.assign(new Error('no'), { code: this.failure.code })
    const path = this.#open.get(fd)
    if (path === undefined) throw new Error('not open')
    this.writes += 1
    const count = Math.min(length, this.pieceBytes)
    this.contents.set(path, this.contents.get(path) + Buffer.from(bytes.subarray(offset, offset + count)).toString())
    this.onWritten()
    return count
  }

  async describe(fd: number): Promise<{ bytes: number; id: string; endsWithLine: boolean }> {
    const path = this.#open.get(fd)!
    const text = this.contents.get(path)!
    return { bytes: text.length, id: path, endsWithLine: text === '' || text.endsWith('\n') }
  }

  async identify(path: string): Promise<string | undefined> {
    return this.contents.has(path) ? path : undefined
  }

  async rename(from: string, to: string): Promise<void> {
    const text = this.contents.get(from)
    if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
    this.contents.delete(from)
    this.contents.set(to, text)
  }

  /** Open files, so that none is leaked. */
  get openCount(): number {
    return this.#open.size
  }
}

t.test('few lines go out after a moment, many at once, all at the end, in order', async t => {
  const { log, path } = logIn(t)
  append(log, 'first')
  t.ok(log.stats().queuedBytes > 0)
  await eventually(() => log.stats().writtenLines === 1 || undefined, 'a single line to be written')
  for (const line of numbered(20_000)) append(log, line)
  append(log, 'last')
  await log.close()
  t.same(linesOf(path), ['first', ...numbered(20_000), 'last'])
  t.match(log.stats(), { path, writtenLines: 20_002, droppedLines: 0, queuedBytes: 0, failures: 0, problem: null })
})

t.test('half a line that a killed process left does not swallow the next', async t => {
  const directory = t.testdir({ 'requests.log': '{"whole":1}\n{"tor' })
  const path = join(directory, 'requests.log')
  const { log } = logIn(t, { path })
  append(log, 'next')
  await log.close()
  t.same(linesOf(path), ['{"whole":1}', '{"tor', 'next'])
})

t.test('a file of its full size is put aside, and so many are kept', async t => {
  const { log, path } = logIn(t, { bytesMax: 600_000, filesMax: 3 })
  const line = 'x'.repeat(999)
  for (let batch = 0; batch < 30; batch++) {
    for (let i = 0; i < 100; i++) append(log, line)
    await eventually(() => log.stats().queuedBytes === 0 || undefined, 'the batch to be written')
  }
  await log.close()
  const sizes = [path, `${path}.1`, `${path}.2`].map(file => readFileSync(file).length)
  for (const size of sizes) t.ok(size > 0 && size <= 600_000, String(size))
  t.throws(() => readFileSync(`${path}.3`), { code: 'ENOENT' })
  t.ok(
    linesOf(`${path}.1`).every(text => text === line),
    'whole lines only',
  )
})

t.test('a file that somebody moves away is followed by a new one', async t => {
  let nowMs = 0
  const { log, path } = logIn(t, { nowMs: () => nowMs })
  append(log, 'old')
  await eventually(() => log.stats().writtenLines === 1 || undefined, 'the line to be written')
  renameSync(path, `${path}.moved`)
  nowMs = 5_000
  append(log, 'new')
  await log.close()
  t.same(linesOf(`${path}.moved`), ['old'])
  t.same(linesOf(path), ['new'])
})

t.test('a disk that takes a write in pieces gets every byte once', async t => {
  const disk = new FakeDisk()
  disk.pieceBytes = 7
  const { log, path } = logIn(t, { files: disk })
  for (const line of numbered(50)) append(log, line)
  await log.close()
  t.equal(disk.contents.get(path), `${numbered(50).join('\n')}\n`)
  t.equal(disk.openCount, 0)
})

for (const [story, failure] of [
  ['a full disk', { code: 'ENOSPC', on: 'write' }],
  ['a broken disk', { code: 'EIO', on: 'write' }],
  ['a directory that may not be written', { code: 'EACCES', on: 'open' }],
] as const) {
  t.test(`${story} costs lines beyond the bound, is counted here and in the log, and is recovered from`, async t => {
    useFakeTimers(t)
    const disk = new FakeDisk()
    disk.failure = failure
    const { log, path } = logIn(t, { files: disk, bytesMax: 2 ** 30 })
    const line = 'y'.repeat(1_023)
    const room = (QUEUE_BYTES_MAX + CHUNK_BYTES) / 1_024
    const sent = room + 1_000
    for (let i = 0; i < sent; i++) append(log, line)
    await settle(() => log.stats().problem !== null)
    const during = log.stats()
    t.equal(during.problem, failure.code)
    t.ok(during.queuedBytes <= QUEUE_BYTES_MAX + CHUNK_BYTES, 'bounded')
    const lost = during.droppedLines
    // The chunk that the first attempt took may be a small one.
    t.ok(lost >= 1_000 && lost < 1_000 + CHUNK_BYTES / 1_024, `${lost} lines did not fit`)
    t.equal(during.writtenLines, 0)

    disk.failure = undefined
    mock.timers.tick(1_000)
    for (let turn = 0; turn < 500 && log.stats().queuedBytes > 0; turn++) {
      await new Promise(setImmediate)
      mock.timers.tick(100)
    }
    await log.close()
    t.match(log.stats(), { problem: null, droppedLines: lost, queuedBytes: 0 })
    const written = disk.contents.get(path)!.split('\n').slice(0, -1)
    t.equal(written.filter(text => text === line).length, sent - lost, 'what was kept is there, once')
    const notices = written.filter(text => text !== line)
    t.same(
      notices.map(text => JSON.parse(text)),
      [{ 'request-type': 'log-lines-dropped', dropped: lost, 'dropped-total': lost }],
    )
  })
}

t.test('a write that fails half way is neither lost nor torn in another file', async t => {
  useFakeTimers(t)
  const disk = new FakeDisk()
  disk.pieceBytes = 12
  const { log, path } = logIn(t, { files: disk })
  for (const line of numbered(5)) append(log, line)
  // Twelve bytes: the first line and half of the second.
  disk.onWritten = () => {
    disk.failure = { code: 'EIO', on: 'write' }
  }
  mock.timers.tick(100)
  await settle(() => log.stats().problem !== null)
  t.equal(log.stats().problem, 'EIO')
  disk.failure = undefined
  disk.onWritten = () => undefined
  mock.timers.tick(1_000)
  await log.close()
  const written = disk.contents.get(path)!.split('\n')
  t.same(
    written.filter(text => /^line \d$/.test(text)),
    numbered(5),
  )
})

t.test('a last attempt that fails does not hold up the stop', async t => {
  const { log } = logIn(t, { path: '/dev/full' })
  append(log, 'lost')
  await log.close()
  t.match(log.stats(), { droppedLines: 1, writtenLines: 0, problem: 'ENOSPC' })
  const { log: other } = logIn(t, { path: '/dev/null/no-such/requests.log' })
  append(other, 'lost')
  await other.close()
  t.match(other.stats(), { droppedLines: 1, problem: 'ENOTDIR' })
})

t.test('nothing to write makes no file', async t => {
  const { log, path } = logIn(t)
  await log.close()
  t.throws(() => readFileSync(path), { code: 'ENOENT' })
  writeFileSync(join(t.testdirName, 'done'), '')
})
