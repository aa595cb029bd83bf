import { join } from 'node:path'
import { eventually, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { untilAllKnown } from './support/control-nodes.ts'
import { helloService, postToken, serviceIdOf, witnessService } from './support/services.ts'
import { readWitnessReport } from './support/witness-report.ts'

const waiter = await startWaiter({ args: ['--nodes', '2'] })
t.teardown(() => waiter.stop())
const [first = 0, second = 0] = waiter.ports
/** The leader moves a slot within a second; a busy machine may take some more. A slot that never moves fails the request. */
const SLOT_MOVED_MS_MAX = 20_000

t.test('two nodes are announced, and each has a router of its own', async t => {
  t.equal(new Set(waiter.ports).size, 2)
  t.match(waiter.nodes, [{ roles: ['control', 'router'] }, { roles: ['router'] }])
  await untilAllKnown(waiter)
  const ids = await Promise.all(waiter.ports.map(async port => (await waiter.api('/state', port))['router-id']))
  t.equal(new Set(ids).size, 2)
  const { routers } = await waiter.api('/state')
  t.same(new Set(Object.keys(routers)), new Set(ids), 'the leader knows both')
})

t.test('a token written through one router serves through the other at once', async t => {
  for (let round = 0; round < 5; round++) {
    const token = `fresh-${round}`
    await postToken(waiter, token, helloService('fresh'))
    const answer = await waiter.request({ port: second, headers: { 'x-waiter-token': token } })
    t.equal(answer.status, 200)
  }
})

t.test('requests through both routers are all served, never more at once than concurrency-level', async t => {
  const reportFile = join(waiter.dataDirectory, 'both')
  const description = witnessService('both', reportFile, {
    'concurrency-level': 1,
    'max-instances': 3,
    'scale-up-factor': 0.9,
    'jitter-threshold': 0.1,
  })
  await postToken(waiter, 'both', description)
  const headers = { 'x-waiter-token': 'both', 'x-delay-ms': '30' }
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, index) => waiter.request({ port: index % 2 === 0 ? first : second, headers })),
  )
  t.same(new Set(answers.map(({ status }) => status)), new Set([200]))
  const report = readWitnessReport(reportFile)
  t.equal(report.servedMost, 1)
  t.ok(report.started.length <= 3)
})

t.test('with concurrency-level 3 as well, and the level is used', async t => {
  const reportFile = join(waiter.dataDirectory, 'three')
  await postToken(waiter, 'three', witnessService('three', reportFile, { 'concurrency-level': 3, 'max-instances': 1 }))
  const headers = { 'x-waiter-token': 'three', 'x-delay-ms': '60' }
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, index) => waiter.request({ port: index % 2 === 0 ? first : second, headers })),
  )
  t.same(new Set(answers.map(({ status }) => status)), new Set([200]))
  t.equal(readWitnessReport(reportFile).servedMost, 3)
})

t.test('a router without a slot gets one while the other is busy, and keeps getting it', async t => {
  const reportFile = join(waiter.dataDirectory, 'turns')
  await postToken(waiter, 'turns', witnessService('turns', reportFile, { 'concurrency-level': 1, 'max-instances': 1 }))
  const headers = { 'x-waiter-token': 'turns', 'x-delay-ms': '20' }
  t.equal((await waiter.request({ port: first, headers })).status, 200)
  let isFlooding = true
  const flood = Promise.all(
    Array.from({ length: 4 }, async () => {
      const statuses: number[] = []
      while (isFlooding) statuses.push((await waiter.request({ port: first, headers })).status)
      return statuses
    }),
  )
  const serviceId = await serviceIdOf(waiter, headers)
  await eventually(
    async () => (await waiter.api(`/state/${serviceId}`)).state['responder-state']['waiting-requests'] > 0 || undefined,
    'a queue at the busy router',
  )
  const timesMs: number[] = []
  for (let round = 0; round < 3; round++) {
    const askedMs = performance.now()
    const answer = await waiter.request({ port: second, headers })
    timesMs.push(Math.round(performance.now() - askedMs))
    t.equal(answer.status, 200)
  }
  isFlooding = false
  t.same(new Set((await flood).flat()), new Set([200]))
  // Without one, it would wait until the flood ends, which is after this.
  t.ok(Math.max(...timesMs) < SLOT_MOVED_MS_MAX, `the other router waited ${timesMs.join(', ')} ms`)
  t.equal(readWitnessReport(reportFile).servedMost, 1)

  const askedMs = performance.now()
  t.equal((await waiter.request({ port: second, headers })).status, 200)
  t.ok(performance.now() - askedMs < SLOT_MOVED_MS_MAX, 'the idle router hands the slot over')
})

t.test('a service without traffic at one router is known there by its state', async t => {
  const apps = await Promise.all(waiter.ports.map(async port => await waiter.api('/apps', port)))
  const ids = apps.map(list => list.map((app: Record<string, string>) => app['service-id']).sort())
  t.same(ids[0], ids[1], 'both routers tell the same about the cluster')
})
