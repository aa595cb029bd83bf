import { createServer } from 'node:net'
import { join } from 'node:path'
import { connectRaw, eventually, type RawConnection, runWaiter, type StartedWaiter, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { helloService, postToken, witnessService } from './support/services.ts'
import { readWitnessReport } from './support/witness-report.ts'

/** The leader moves a slot within a second; a busy machine may take some more. */
const SLOT_MOVED_MS_MAX = 20_000
const waiter = await startWaiter({ args: ['--workers', '2'] })
t.teardown(() => waiter.stop())

t.test('one node, one port, two router processes, each a router of its own', async t => {
  t.match(waiter.nodes, [{ roles: ['control', 'router'], workers: 2 }])
  t.equal(waiter.ready.routers.length, 1)
  t.equal(waiter.processes('router').length, 2)
  // Ready means that both serve; each says hello to the leader on a stream of its own, maybe a moment later.
  const routers = await eventually(async () => {
    const { routers } = await waiter.api('/state')
    return Object.keys(routers).length === 2 ? routers : undefined
  }, 'the leader to know both')
  t.same(new Set(Object.values(routers)), new Set(waiter.ready.routers), 'under the same address')
})

t.test('connections are spread over both', async t => {
  const ids = new Set<string>()
  // Each connection goes to either with the same chance: 60 to the same one happen once in 2^59.
  for (let round = 0; round < 60 && ids.size < 2; round++) ids.add((await waiter.api('/state'))['router-id'])
  t.equal(ids.size, 2)
})

t.test('the port belongs to this Waiter: another one is told so', async t => {
  const run = await runWaiter([
    ...['--json', '--workers', '2', '--port', String(waiter.port)],
    ...['--data-dir', join(waiter.dataDirectory, 'another')],
  ])
  t.equal(run.code, 1)
  t.match(run.stderr, `port ${waiter.port} on 127.0.0.1 is in use`)
})

t.test('every worker tells the same about the cluster', async t => {
  await postToken(waiter, 'same', helloService('same'))
  const connections = await connectToEach(waiter)
  t.teardown(() => close(connections))
  for (const connection of connections) {
    const served = await ask(connection, '/', 'x-waiter-token: same')
    t.equal(served.status, 200)
    const apps = JSON.parse((await ask(connection, '/apps')).body.toString())
    t.equal(apps.filter((app: { status: string }) => app.status === 'Running').length, 1)
  }
})

t.test('whichever worker is scraped tells what all of them measured, each series once', async t => {
  await postToken(waiter, 'scraped', helloService('scraped'))
  const connections = await connectToEach(waiter)
  t.teardown(() => close(connections))
  for (const connection of connections) t.equal((await ask(connection, '/', 'x-waiter-token: scraped')).status, 200)
  for (const connection of connections) {
    const page = (await ask(connection, '/metrics?format=prometheus')).body.toString()
    for (const worker of ['1', '2']) {
      t.match(page, new RegExp(`^waiter_info\\{worker="${worker}",`, 'm'))
      t.match(page, new RegExp(`^waiter_requests_total\\{worker="${worker}",.* 1$`, 'm'))
    }
    t.match(page, /^waiter_workers_silent 0$/m)
    const names = page.match(/^# TYPE (\S+)/gm) ?? []
    t.equal(new Set(names).size, names.length, 'series of a family stand together')
    const series = page.match(/^[^#].*(?= )/gm) ?? []
    t.equal(new Set(series).size, series.length, 'no series comes twice')
  }
})

t.test('a worker that hangs does not keep the others from telling', async t => {
  const connections = await connectToEach(waiter)
  t.teardown(() => close(connections))
  const { pid } = waiter.processes('router')[0] as { pid: number }
  process.kill(pid, 'SIGSTOP')
  t.teardown(() => process.kill(pid, 'SIGCONT'))
  // One of the two is the one that hangs.
  const answers = connections.map(connection => ask(connection, '/metrics?format=prometheus'))
  const page = (await Promise.any(answers)).body.toString()
  t.match(page, /^waiter_workers_silent 1$/m)
  t.equal(page.match(/^waiter_info/gm)?.length, 1)
  process.kill(pid, 'SIGCONT')
  t.equal((await Promise.all(answers)).length, 2, 'and tells later')
})

t.test('a service of one slot: whichever worker is asked, nobody waits for ever', async t => {
  const reportFile = join(waiter.dataDirectory, 'single')
  await postToken(
    waiter,
    'single',
    witnessService('single', reportFile, { 'concurrency-level': 1, 'max-instances': 1 }),
  )
  const connections = await connectToEach(waiter)
  t.teardown(() => close(connections))
  const [first, second] = connections as [RawConnection, RawConnection]
  t.equal((await ask(first, '/', 'x-waiter-token: single')).status, 200)
  const timesMs: number[] = []
  for (let round = 0; round < 10; round++) {
    for (const connection of [second, first]) {
      const askedMs = performance.now()
      t.equal((await ask(connection, '/', 'x-waiter-token: single')).status, 200)
      timesMs.push(performance.now() - askedMs)
    }
  }
  t.ok(Math.max(...timesMs) < SLOT_MOVED_MS_MAX, `the slot moved within ${timesMs.map(Math.round).join(', ')} ms`)

  const both = await Promise.all(
    connections.map(connection => ask(connection, '/', 'x-waiter-token: single', 'x-delay-ms: 100')),
  )
  t.same(
    both.map(({ status }) => status),
    [200, 200],
    'asked by both at once, it serves one after the other',
  )
  t.equal(readWitnessReport(reportFile).servedMost, 1)
})

t.test('kill -9 of a worker under load: only its own connections fail, and it is replaced', async t => {
  await postToken(waiter, 'load', helloService('load', { 'concurrency-level': 20 }))
  const connections = await connectToEach(waiter, 6)
  t.teardown(() => close(connections))
  const before = waiter.processes('router').map(({ pid }) => pid)
  const ids = await Promise.all(connections.map(idOf))
  let isLoaded = true
  let served = 0
  const loads = connections.map(async connection => {
    try {
      while (isLoaded) {
        if ((await ask(connection, '/', 'x-waiter-token: load')).status !== 200) return 'refused'
        served += 1
      }
      return 'fine'
    } catch {
      return 'broken'
    }
  })
  await eventually(() => served > 50 || undefined, 'load')
  process.kill(before[0] as number, 'SIGKILL')
  await eventually(() => {
    const now = waiter.processes('router').map(({ pid }) => pid)
    return (now.length === 2 && !now.includes(before[0] as number)) || undefined
  }, 'another worker in its place')
  const newId = await eventually(async () => {
    const { 'router-id': id, routers } = await waiter.api('/state')
    return !ids.includes(id) && Object.keys(routers).length === 2 ? id : undefined
  }, 'the new worker to be known, and the dead one to be forgotten')
  t.ok(newId)
  const servedThen = served
  await eventually(() => served > servedThen + 50 || undefined, 'load on the worker that lives')
  isLoaded = false
  const endings = await Promise.all(loads)
  const endingsById = new Map<string, Set<string>>()
  for (const [index, id] of ids.entries()) {
    const endingsOfOne = endingsById.get(id) ?? new Set()
    endingsById.set(id, endingsOfOne.add(endings[index] as string))
  }
  t.same(
    new Set([...endingsById.values()].map(set => [...set].join())),
    new Set(['fine', 'broken']),
    'all connections of one worker broke, and none of the other',
  )
  t.equal((await waiter.request({ headers: { 'x-waiter-token': 'load' } })).status, 200)
})

t.test('a port that somebody else has is not shared with them', async t => {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const run = await runWaiter([
    ...['--json', '--workers', '2', '--port', String(port)],
    ...['--data-dir', join(waiter.dataDirectory, 'third')],
  ])
  t.equal(run.code, 1)
  t.match(run.stderr, `port ${port} on 127.0.0.1 is in use`)
})

t.test(
  'drain with crash: every worker of the node finishes what runs, ends, and is replaced by a fresh one',
  async t => {
    const reportFile = join(waiter.dataDirectory, 'drained')
    await postToken(
      waiter,
      'drained',
      witnessService('drained', reportFile, { 'concurrency-level': 10, 'max-instances': 1 }),
    )
    const connections = await connectToEach(waiter)
    t.teardown(() => close(connections))
    const pids = waiter.processes('router').map(({ pid }) => pid)
    // Each has a slot of its own before both are asked at once.
    for (const connection of connections) t.equal((await ask(connection, '/', 'x-waiter-token: drained')).status, 200)
    const slow = connections.map(connection => ask(connection, '/', 'x-waiter-token: drained', 'x-delay-ms: 3000'))
    await eventually(() => readWitnessReport(reportFile).servedMost === 2 || undefined, 'both requests at the backend')
    const path = '/drain?crash=true&drain-timeout-secs=0'
    const drained = await waiter.request({ method: 'POST', path })
    t.match(JSON.parse(drained.text), { 'drain-mode?': true })
    for (const { status } of await Promise.all(slow)) t.equal(status, 200, 'what ran was finished')
    await eventually(() => {
      const now = waiter.processes('router').map(({ pid }) => pid)
      return (now.length === 2 && now.every(pid => !pids.includes(pid))) || undefined
    }, 'two other processes')
    const status = await eventually(
      () => waiter.request({ path: '/status' }).catch(() => undefined),
      'a fresh router to answer',
    )
    t.equal(status.status, 200, 'which is not draining')
    t.equal((await waiter.request({ headers: { 'x-waiter-token': 'drained' } })).status, 200)
  },
)

/** Connections to both workers, `each` to one. */
async function connectToEach({ port }: StartedWaiter, each = 1): Promise<RawConnection[]> {
  const byWorker = new Map<string, RawConnection[]>()
  const isEnough = (): boolean => byWorker.size === 2 && [...byWorker.values()].every(({ length }) => length === each)
  while (!isEnough()) {
    const connection = await connectRaw({ port })
    const id = await idOf(connection)
    const known = byWorker.get(id) ?? []
    byWorker.set(id, known)
    if (known.length < each) known.push(connection)
    else connection.destroy()
  }
  return [...byWorker.values()].flat()
}

async function idOf(connection: RawConnection): Promise<string> {
  return JSON.parse((await ask(connection, '/state')).body.toString())['router-id']
}

async function ask(connection: RawConnection, path: string, ...fields: string[]) {
  const head = [`GET ${path} HTTP/1.1`, 'host: localhost', ...fields, '', ''].join('\r\n')
  await connection.write(head)
  return await connection.nextResponse()
}

function close(connections: readonly RawConnection[]): void {
  for (const connection of connections) connection.destroy()
}
