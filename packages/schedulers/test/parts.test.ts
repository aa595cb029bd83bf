import { execFileSync } from 'node:child_process'
import { existsSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer as createHttp2 } from 'node:http2'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPrng } from '@waiter/base'
import t from 'tap'
import { createExampleDefinition } from '../src/contract.ts'
import { EventHub, type InstanceRecord, type SchedulerEvent } from '../src/index.ts'
import { probeHealth } from '../src/process/health-probe.ts'
import type { Instance } from '../src/process/instance.ts'
import { listLogs, readLogPiece, readStderrTail, rotateOutput } from '../src/process/log-files.ts'
import { PortPool } from '../src/process/port-pool.ts'
import type { ProcessEntry } from '../src/process/process-table.ts'
import { isAlive, ProcessTable, readStat } from '../src/process/process-table.ts'
import { findMembers, type ProcessTree } from '../src/process/process-tree.ts'
import { findInPasswd } from '../src/process/run-as-user.ts'
import { applyEnded, applyFailure, computeBackoffMs, createServiceState } from '../src/process/service-state.ts'
import { Tenancy } from '../src/process/tenancy.ts'

function makeDir(t: Pick<typeof import('tap').t, 'teardown'>): string {
  const directory = mkdtempSync(join(tmpdir(), 'waiter-parts-test-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

for (const [streak, factor, want, story] of [
  [1, 2, 0, 'the first restart is immediate'],
  [2, 2, 1000, 'the second waits a second'],
  [4, 2, 4000, 'waits double'],
  [4, 3, 9000, 'or grow by the factor of the service'],
  [40, 2, 60_000, 'but never beyond a minute'],
  [5, 1, 1000, 'a factor of 1 keeps them level'],
] as const) {
  t.test(`back-off: ${story}`, async t => {
    t.equal(computeBackoffMs(streak, factor), want)
  })
}

const record = (id: number, state: 'failed' | 'killed', more: Partial<InstanceRecord> = {}): InstanceRecord =>
  ({ serviceId: 's', instanceId: `s.${id}`, state, healthyAtMs: null, endedAtMs: id, ...more }) as InstanceRecord
const failing = (streak: number, more: Partial<InstanceRecord> = {}): Instance =>
  ({ record: record(1, 'failed', more), setup: { streak } }) as unknown as Instance

t.test('back-off: ten instances of one round that fail together count once', async t => {
  const service = createServiceState(createExampleDefinition('s', 'true'), 10, 0)
  for (let i = 0; i < 10; i++) applyFailure(service, failing(0), 1000)
  t.equal(service.streak, 1)
  t.equal(service.startsFromMs, 1000)
  applyFailure(service, failing(1), 2000)
  t.equal(service.streak, 2)
  t.equal(service.startsFromMs, 3000)
})

t.test('back-off: an instance that was healthy for long ends the row', async t => {
  const service = createServiceState(createExampleDefinition('s', 'true'), 1, 0)
  service.streak = 7
  applyFailure(service, failing(7, { healthyAtMs: 0, endedAtMs: 10_000 }), 10_000)
  t.equal(service.streak, 1)
  applyFailure(service, failing(7, { healthyAtMs: 0, endedAtMs: 9999 }), 10_000)
  t.equal(service.streak, 8, 'but not one that was healthy only shortly')
})

t.test('ended records: newest ten failed and newest twelve killed stay, each reported once when dropped', async t => {
  const service = createServiceState(createExampleDefinition('s', 'true'), 1, 0)
  const dropped: string[] = []
  for (let id = 0; id < 40; id++) {
    for (const old of applyEnded(service, record(id, id % 2 === 0 ? 'failed' : 'killed'))) dropped.push(old.instanceId)
  }
  const kept = service.ended.map(ended => ended.instanceId)
  t.same(
    kept.filter(id => Number(id.slice(2)) % 2 === 0),
    [20, 22, 24, 26, 28, 30, 32, 34, 36, 38].map(id => `s.${id}`),
  )
  t.equal(kept.length, 22)
  t.equal(new Set([...kept, ...dropped]).size, 40)
  t.equal(dropped.length, 18)
})

t.test('watchers: a slow one gets a fresh listing instead of a long queue', async t => {
  let version = 0
  const hub = new EventHub(() => [
    { definition: createExampleDefinition('s', 'true'), requested: version, instances: [] },
  ])
  const watcher = hub.watch(new AbortController().signal)[Symbol.asyncIterator]()
  const next = async (): Promise<SchedulerEvent> => (await watcher.next()).value
  t.match(await next(), { kind: 'listing', services: [{ requested: 0 }] })
  const publish = (count: number): void => {
    for (let i = 0; i < count; i++) hub.publish({ kind: 'service-removed', serviceId: `s${++version}` })
  }
  publish(1024)
  t.match(await next(), { kind: 'service-removed', serviceId: 's1' }, 'a full queue is delivered in order')
  publish(2)
  t.match(await next(), { kind: 'listing', services: [{ requested: 1026 }] }, 'an overfull one is replaced')
  publish(1)
  t.match(await next(), { kind: 'service-removed', serviceId: 's1027' }, 'and events follow on')
  hub.close()
  t.equal((await watcher.next()).done, true)
  t.equal((await hub.watch(new AbortController().signal)[Symbol.asyncIterator]().next()).done, true)
})

t.test('watchers: their number is bounded, and those that leave make room', async t => {
  const hub = new EventHub(() => [])
  const aborts = Array.from({ length: 128 }, () => new AbortController())
  for (const abort of aborts) hub.watch(abort.signal)
  t.throws(() => hub.watch(new AbortController().signal), { code: 'WTR_TOO_MANY_WATCHERS', retryable: true })
  aborts[0]?.abort()
  const watcher = hub.watch(new AbortController().signal)[Symbol.asyncIterator]()
  await watcher.return?.()
  hub.watch(new AbortController().signal)
})

function createPool(first: number, last: number) {
  const clock = { nowMs: 0 }
  const pool = new PortPool({
    range: { first, last },
    quarantineMs: 120_000,
    prng: createPrng(3),
    nowMs: () => clock.nowMs,
  })
  return { pool, clock }
}

t.test('ports: never two holders, a rest after use, and a clear failure when none is left', async t => {
  const { pool, clock } = createPool(18_400, 18_409)
  const held = await Promise.all([pool.reserve(4), pool.reserve(3), pool.reserve(3)])
  t.equal(new Set(held.flat()).size, 10)
  await t.rejects(pool.reserve(1), { code: 'WTR_NO_FREE_PORT', retryable: true, message: /Only 0 of 1 ports/ })
  pool.release(held[0])
  clock.nowMs = 120_000
  await t.rejects(pool.reserve(5), { code: 'WTR_NO_FREE_PORT' }, 'more than there are')
  t.same([...(await pool.reserve(4))].sort(), [...held[0]].sort(), 'what the failed try held is free again')
  pool.releaseUnused(held[1])
  t.equal((await pool.reserve(3)).length, 3, 'unused ports need no rest')
})

t.test('ports: one rests while there are others, and is given before nothing is, the longest rested first', async t => {
  const { pool, clock } = createPool(18_410, 18_413)
  const [a, b, c, d] = (await pool.reserve(4)) as [number, number, number, number]
  pool.release([b])
  clock.nowMs = 10
  pool.release([a])
  pool.releaseUnused([d])
  t.same(await pool.reserve(1), [d], 'a free one before those that rest')
  t.same(await pool.reserve(1), [b])
  t.same(await pool.reserve(1), [a])
  await t.rejects(pool.reserve(1), { code: 'WTR_NO_FREE_PORT' }, `${c} is still in use`)
})

for (const host of ['127.0.0.1', '127.0.0.9', '0.0.0.0', '::1', '::']) {
  t.test(`ports: one that somebody holds at ${host} is not given`, async t => {
    const server = createServer()
    await new Promise<void>(resolve => server.listen(0, host, resolve))
    const { port } = server.address() as { port: number }
    await t.rejects(createPool(port, port).pool.reserve(1), { code: 'WTR_NO_FREE_PORT' })
    await new Promise(resolve => server.close(resolve))
    t.same(await createPool(port, port).pool.reserve(1), [port])
  })
}

async function serve(t: Pick<typeof import('tap').t, 'teardown'>, onSocket: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer(onSocket)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return (server.address() as { port: number }).port
}
const answer = (text: string) => (socket: Socket) => {
  socket.on('error', () => undefined)
  socket.once('data', () => socket.end(text))
}

for (const [story, onSocket, want] of [
  ['200', answer('HTTP/1.1 200 OK\r\n\r\n'), { kind: 'response', status: 200 }],
  ['an old 503', answer('HTTP/1.0 503 Busy\r\n\r\n'), { kind: 'response', status: 503 }],
  [
    'an interim answer first',
    answer('HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 Fine\r\n\r\n'),
    { status: 204 },
  ],
  [
    'a body without end',
    (s: Socket) => void s.on('error', () => 0).write(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(100_000)}`),
    { status: 200 },
  ],
  ['another protocol', answer('SSH-2.0-OpenSSH_9.6\r\n'), { kind: 'hangup' }],
  ['a status line without end', answer(`HTTP/1.1 ${'9'.repeat(9000)}`), { kind: 'hangup' }],
  ['a closed connection', (s: Socket) => void s.destroy(), { kind: 'hangup' }],
  ['silence', () => undefined, { kind: 'timeout', host: '127.0.0.1' }],
] as const) {
  t.test(`probe: ${story}`, async t => {
    const sockets: Socket[] = []
    const port = await serve(t, socket => {
      sockets.push(socket)
      socket.on('error', () => undefined)
      onSocket(socket)
    })
    t.teardown(() => sockets.forEach(socket => void socket.destroy()))
    const target = { hosts: ['127.0.0.1'], port, proto: 'http', path: '/', authorization: undefined } as const
    t.match(
      await probeHealth({ ...target, timeoutMs: story === 'silence' ? 20 : 20_000 }, new AbortController().signal),
      want,
    )
  })
}

t.test('probe: a path with blanks and line ends cannot make a second request', async t => {
  let seen = ''
  const port = await serve(t, socket => {
    socket.once('data', data => {
      seen = String(data)
      socket.end('HTTP/1.1 200 OK\r\n\r\n')
    })
  })
  const path = 'a b\r\nx: y'
  const target = { hosts: ['127.0.0.1'], port, proto: 'http', path, authorization: undefined, timeoutMs: 9000 } as const
  await probeHealth(target, new AbortController().signal)
  t.match(seen, /^GET \/a%20b%0D%0Ax:%20y HTTP\/1\.1\r\nhost: /)
  t.match(seen, '\r\nx-waiter-request-type: health-check\r\n', 'a backend can tell it from a request')
})

t.test('probe: HTTP/2 without TLS', async t => {
  const server = createHttp2()
  server.on('stream', (stream, headers) => {
    const isProbe = headers['x-waiter-request-type'] === 'health-check' && headers.authorization === 'Basic x'
    stream.respond({ ':status': headers[':path'] === '/up' && isProbe ? 200 : 404 })
    stream.end('ok')
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const target = {
    hosts: ['127.0.0.1'],
    port,
    proto: 'h2c',
    path: '/up',
    authorization: 'Basic x',
    timeoutMs: 20_000,
  } as const
  t.same(await probeHealth(target, new AbortController().signal), { kind: 'response', host: '127.0.0.1', status: 200 })
})

const entry = (pid: number, more: Partial<ProcessEntry>): ProcessEntry => ({
  pid,
  parentPid: 1,
  group: pid,
  session: pid,
  startTicks: 100,
  rssBytes: 0,
  cpuTicks: 0,
  isZombie: false,
  name: 'x',
  sandbox: null,
  ...more,
})

for (const [story, entries, want] of [
  ['the main process and its session', [entry(5000, {}), entry(5001, { session: 5000 })], [5000, 5001]],
  [
    'children in sessions of their own',
    [entry(5000, {}), entry(5001, { parentPid: 5000 }), entry(5002, { parentPid: 5001 })],
    [5000, 5001, 5002],
  ],
  ['daemons that kept their environment', [entry(5003, { sandbox: '/d/a' })], [5003]],
  ['processes seen before', [entry(5004, { startTicks: 7 })], [5004]],
  ['nobody who got a number that was seen before', [entry(5004, { startTicks: 8 })], []],
  [
    'nobody of a later session with the same number',
    [entry(5000, { startTicks: 200 }), entry(5001, { session: 5000 })],
    [],
  ],
  ['nobody older than the main process', [entry(5001, { session: 5000, startTicks: 50 })], []],
  ['no zombies', [entry(5000, { isZombie: true })], []],
  ['not the children of another instance', [entry(6000, { sandbox: '/d/b' }), entry(6001, { parentPid: 6000 })], []],
  [
    'nothing endless in a snapshot with a circle',
    [entry(7000, { parentPid: 7001 }), entry(7001, { parentPid: 7000 })],
    [],
  ],
] as const) {
  t.test(`members: ${story}`, async t => {
    const tree: ProcessTree = { pid: 5000, startTicks: 100, sandbox: '/d/a', known: new Set(['5004@7']) }
    const snapshot = new Map(entries.map(e => [e.pid, e]))
    const found = findMembers(snapshot, [tree]).get(tree) ?? []
    t.same(
      found.map(e => e.pid),
      want,
    )
    t.equal(tree.known.size, want.length)
  })
}

t.test('process table: knows this process, and one scan serves all who asked before it began', async t => {
  const table = new ProcessTable()
  const first = table.scan()
  t.equal(table.scan(), first)
  const snapshot = await first
  const own = snapshot.get(process.pid)
  t.ok(own && own.rssBytes > 10_000_000 && own.rssBytes < 4_000_000_000)
  t.equal(own?.parentPid, process.ppid)
  t.ok(isAlive(process.pid, own?.startTicks ?? 0))
  t.notOk(isAlive(process.pid, 1 + (own?.startTicks ?? 0)))
  t.equal(readStat(4_194_305), null)
  t.not(table.scan(), first)
})

t.test('logs: a listing stays inside, whatever the path says', async t => {
  const outside = makeDir(t)
  const sandbox = join(outside, 'sandbox')
  mkdirSync(join(sandbox, 'deep'), { recursive: true })
  writeFileSync(join(sandbox, 'stdout'), 'hello')
  writeFileSync(join(sandbox, 'deep', 'file'), 'x')
  symlinkSync('stdout', join(sandbox, 'inner'))
  symlinkSync(outside, join(sandbox, 'escape'))
  symlinkSync('/etc/passwd', join(sandbox, 'passwd'))
  t.same(await listLogs(sandbox, ''), [
    { name: 'deep', type: 'directory', path: 'deep' },
    { name: 'inner', type: 'file', size: 5, path: 'inner' },
    { name: 'stdout', type: 'file', size: 5, path: 'stdout' },
  ])
  t.same(await listLogs(sandbox, 'deep/'), [{ name: 'file', type: 'file', size: 1, path: 'deep/file' }])
  for (const path of ['..', '../..', 'deep/../..', 'escape', 'stdout', 'none', 'a\0b', '/etc', '..%2f']) {
    await t.rejects(listLogs(sandbox, path), { code: 'WTR_BAD_PATH', status: 400 }, JSON.stringify(path))
  }
  await t.rejects(listLogs(join(outside, 'removed'), ''), { code: 'WTR_BAD_PATH' })
})

t.test('logs: a file is read in pieces, and only one within', async t => {
  const outside = makeDir(t)
  const sandbox = join(outside, 'sandbox')
  mkdirSync(join(sandbox, 'deep'), { recursive: true })
  writeFileSync(join(sandbox, 'stdout'), 'hello')
  writeFileSync(join(outside, 'secret'), 'secret')
  symlinkSync('stdout', join(sandbox, 'inner'))
  symlinkSync(outside, join(sandbox, 'escape'))
  symlinkSync('/etc/passwd', join(sandbox, 'passwd'))
  linkSync(join(outside, 'secret'), join(sandbox, 'hard'))
  execFileSync('mkfifo', [join(sandbox, 'pipe')])
  const read = async (path: string, offset = 0, length = 100) => {
    const piece = await readLogPiece(sandbox, path, { offset, length })
    return [Buffer.from(piece.content).toString(), piece.size]
  }
  t.same(await read('stdout'), ['hello', 5])
  t.same(await read('stdout', 1, 3), ['ell', 5])
  t.same(await read('stdout', 9), ['', 5])
  t.same(await read('deep/../stdout'), ['hello', 5])
  t.same(await read('inner'), ['hello', 5], 'a link to a file within')
  for (const path of ['', '.', 'deep', '..', '../secret', 'escape/secret', 'passwd', 'hard', 'pipe', 'none', 'a\0b'])
    await t.rejects(
      read(path),
      { code: 'WTR_BAD_PATH', status: 400, message: /is not a file within/ },
      JSON.stringify(path),
    )
})

t.test('logs: an instance cannot make Waiter read or truncate files elsewhere', async t => {
  const directory = makeDir(t)
  const secret = join(directory, 'secret')
  const sandbox = join(directory, 'sandbox')
  mkdirSync(sandbox)
  writeFileSync(secret, 'x'.repeat(1000))
  for (const link of [symlinkSync, linkSync]) {
    link(secret, join(sandbox, 'stderr'))
    t.equal(readStderrTail(sandbox), '')
    await rotateOutput(sandbox, 'stderr', 10).catch(() => undefined)
    t.equal(readFileSync(secret, 'utf8').length, 1000)
    t.notOk(existsSync(join(sandbox, 'stderr.1')))
    rmSync(join(sandbox, 'stderr'))
  }
  t.equal(await rotateOutput(sandbox, 'stderr', 10), false)
})

for (const [story, text, want] of [
  ['nothing', '', ''],
  ['a line', 'oops\n', 'oops'],
  [
    'only the last twenty lines',
    Array.from({ length: 50 }, (_, i) => i).join('\n'),
    Array.from({ length: 20 }, (_, i) => i + 30).join('\n'),
  ],
  ['whole characters at the cut', `${'ä'.repeat(2000)}`, 'ä'.repeat(1024)],
  ['whole characters at an odd cut', `${'ä'.repeat(2000)}z`, `${'ä'.repeat(1023)}z`],
] as const) {
  t.test(`stderr: ${story}`, async t => {
    const directory = makeDir(t)
    writeFileSync(join(directory, 'stderr'), text)
    t.equal(readStderrTail(directory), want)
  })
}

t.test('stderr: bytes that are no text stay within the limit', async t => {
  const directory = makeDir(t)
  writeFileSync(join(directory, 'stderr'), Buffer.alloc(5000, 0xff))
  t.ok(Buffer.byteLength(readStderrTail(directory)) <= 2048)
})

t.test('tenancy: the last to open owns, and terms only grow, also across objects', async t => {
  const directory = makeDir(t)
  const first = new Tenancy(directory)
  first.checkFence({ term: 4 })
  t.ok(first.isOwner())
  const second = new Tenancy(directory)
  t.notOk(first.isOwner())
  t.ok(second.isOwner())
  t.throws(() => second.checkFence({ term: 3 }), { code: 'WTR_FENCED', status: 409 })
  second.checkFence({ term: 4 })
  second.checkFence({ term: 6 })
  t.throws(() => first.checkFence({ term: 5 }), { code: 'WTR_FENCED' })
})

const PASSWD = 'root:x:0:0:root:/root:/bin/bash\nann:x:1001:1002::/home/ann:/bin/sh\nbroken:x\nodd:x:a:b::\n'
for (const [user, want] of [
  ['ann', { uid: 1001, gid: 1002 }],
  ['bob', null],
  ['broken', null],
  ['odd', null],
  ['', null],
] as const) {
  t.test(`users: ${JSON.stringify(user)} of the passwd file`, async t => {
    t.same(findInPasswd(PASSWD, user), want)
  })
}

t.test('a directory belongs to the highest term, whoever opened it last', async t => {
  const directory = t.testdir()
  const fifth = new Tenancy(directory, { term: 5 })
  const seventh = new Tenancy(directory, { term: 7 })
  t.notOk(fifth.isOwner())
  t.ok(seventh.isOwner())
  t.throws(() => new Tenancy(directory, { term: 6 }), { code: 'WTR_FENCED' })
  t.ok(seventh.isOwner(), 'a refused one takes nothing')
  // A deposed leader that was held up right after it had looked at the fence.
  writeFileSync(join(directory, 'owner.json'), JSON.stringify({ nonce: 'late', pid: 1, term: 5 }))
  t.ok(seventh.isOwner(), 'the higher term takes the directory back')
  t.notOk(fifth.isOwner())
  t.throws(() => fifth.checkFence({ term: 5 }), { code: 'WTR_FENCED' })
})
