import { spawn } from 'node:child_process'
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { waitForEvent } from '@waiter/testkit'
import t from 'tap'
import { openDataDirectory } from '../src/data-directory.ts'
import { createPasswordFor } from '../src/service-password.ts'

const modeOf = (file: string): string => (statSync(file).mode & 0o777).toString(8)
const startTimeOf = (pid: number): string | undefined =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19]

t.test('a new directory', async t => {
  const path = join(t.testdir(), 'a', 'b')
  const data = openDataDirectory(path)
  t.match(data.clusterSecret, /^[0-9a-f]{64}$/)
  t.equal(modeOf(path), '700')
  t.equal(modeOf(join(path, 'cluster-secret')), '600')
  t.equal(modeOf(join(path, 'lock')), '600')
  for (const name of ['logs', 'raft', 'scheduler'] as const) t.equal(modeOf(data.paths[name]), '700', name)
  data.release()
  t.throws(() => statSync(join(path, 'lock')), { code: 'ENOENT' })
})

t.test('the secret stays the same, and only its owner can read it', async t => {
  const path = t.testdir()
  const first = openDataDirectory(path)
  first.release()
  chmodSync(join(path, 'cluster-secret'), 0o644)
  const second = openDataDirectory(path)
  t.equal(second.clusterSecret, first.clusterSecret)
  t.equal(modeOf(join(path, 'cluster-secret')), '600', 'mended')
  second.release()
  t.not(openDataDirectory(join(path, 'other')).clusterSecret, first.clusterSecret)
  for (const text of ['', 'short', `${'0'.repeat(63)}g`]) {
    writeFileSync(join(path, 'cluster-secret'), text)
    t.throws(() => openDataDirectory(path), { code: 'WTR_DATA_DIR', message: /cluster-secret is damaged: restore it/ })
  }
})

t.test('the lock', async t => {
  const path = t.testdir()
  const lock = join(path, 'lock')
  const other = spawn('sleep', ['60'])
  await waitForEvent(other, 'spawn')
  const pid = other.pid ?? 0
  writeFileSync(lock, JSON.stringify({ pid, startTime: startTimeOf(pid) }))
  t.throws(() => openDataDirectory(path), {
    code: 'WTR_DATA_DIR',
    message: `the data directory ${path} is in use by process ${pid}: stop that Waiter or choose another --data-dir`,
  })
  t.equal(JSON.parse(readFileSync(lock, 'utf8')).pid, pid, 'its lock is left alone')

  writeFileSync(lock, JSON.stringify({ pid, startTime: '1' }))
  t.doesNotThrow(
    () => openDataDirectory(path).release(),
    'a later process with the pid of a dead owner is not that owner',
  )

  writeFileSync(lock, JSON.stringify({ pid, startTime: startTimeOf(pid) }))
  const gone = waitForEvent(other, 'exit')
  other.kill('SIGKILL')
  await gone
  const data = openDataDirectory(path)
  t.equal(JSON.parse(readFileSync(lock, 'utf8')).pid, process.pid, 'taken over from the dead')
  writeFileSync(lock, JSON.stringify({ pid: 1, startTime: startTimeOf(1) }))
  data.release()
  t.equal(JSON.parse(readFileSync(lock, 'utf8')).pid, 1, 'what somebody else has taken since is not released')

  for (const text of ['', '{', 'null', '{"pid":"1"}', '[]']) {
    writeFileSync(lock, text)
    t.doesNotThrow(() => openDataDirectory(path).release(), `a damaged lock (${text}) keeps nobody out`)
  }
})

t.test('a place where no directory can be', async t => {
  const path = join(t.testdir({ file: '' }), 'file', 'x')
  t.throws(() => openDataDirectory(path), {
    code: 'WTR_DATA_DIR',
    message: /^cannot use the data directory .*ENOTDIR.*Choose another with --data-dir DIR$/,
  })
})

t.test('passwords of services', async t => {
  const passwordFor = createPasswordFor('a secret')
  t.match(passwordFor('a'), /^[0-9a-f]{64}$/)
  t.equal(passwordFor('a'), createPasswordFor('a secret')('a'), 'the same on every node')
  t.not(passwordFor('a'), passwordFor('b'))
  t.not(passwordFor('a'), createPasswordFor('another secret')('a'))
})

t.test('a host that joins has the secret of the others, and makes none', async t => {
  const root = t.testdir()
  const secretFile = join(root, 'secret')
  const path = join(root, 'joining')
  const code = 'WTR_NO_SECRET'
  t.throws(() => openDataDirectory(path, { isShared: true }), { code, message: /--secret-file FILE, a copy of/ })
  for (const [text, message] of [
    [undefined, /--secret-file .*secret: ENOENT/],
    ['guess', /not a copy of a file cluster-secret/],
  ] as const) {
    if (text !== undefined) writeFileSync(secretFile, text)
    t.throws(() => openDataDirectory(path, { isShared: true, secretFile }), { code: 'WTR_USAGE', message })
  }
  writeFileSync(secretFile, `${'5a'.repeat(32)}\n`)
  const first = openDataDirectory(path, { isShared: true, secretFile })
  t.equal(first.clusterSecret, '5a'.repeat(32))
  t.equal(modeOf(join(path, 'cluster-secret')), '600')
  first.release()
  const again = openDataDirectory(path, { isShared: true })
  t.equal(again.clusterSecret, first.clusterSecret, 'kept')
  again.release()
  writeFileSync(secretFile, '6b'.repeat(32))
  t.throws(() => openDataDirectory(path, { secretFile }), {
    code: 'WTR_DATA_DIR',
    message: /has another secret already/,
  })
})
