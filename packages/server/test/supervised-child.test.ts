import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createTestLogger, eventually, isRunning } from '@waiter/testkit'
import t, { type Test } from 'tap'
import type { ControlStart } from '../src/process/messages.ts'
import { SupervisedChild } from '../src/process/supervised-child.ts'

/** A child that does what the fields of its start message's `nodeId` say. */
const CHILD = `
process.on('disconnect', () => process.exit(1))
process.on('message', message => {
  if (message.kind === 'stop') {
    if (!process.env.STUBBORN) process.exit(0)
    return
  }
  if (message.nodeId === 'dies') process.exit(7)
  if (message.nodeId === 'refuses') {
    process.send({ kind: 'failed', code: 'WTR_LISTEN_FAILED', message: 'port 1 is in use' })
    setTimeout(() => process.exit(1), 100)
    return
  }
  process.send({ kind: 'ready', address: 'http://127.0.0.1:' + message.bind.port })
})
`

function supervise(t: Test, nodeId = 'well') {
  const entry = join(t.testdir(), 'child.mjs')
  writeFileSync(entry, CHILD)
  const log = createTestLogger()
  const given: (string | undefined)[] = []
  const child = new SupervisedChild(
    entry,
    address => {
      given.push(address)
      const port = address === undefined ? 1234 : Number(address.split(':').at(-1))
      return { kind: 'start-control', nodeId, bind: { host: '127.0.0.1', port } } as ControlStart
    },
    log,
  )
  t.teardown(() => child.stop(0))
  return { child, log, given }
}

t.test('a child that dies is started again, under its former address', async t => {
  const { child, log, given } = supervise(t)
  t.equal(await child.start(), 'http://127.0.0.1:1234')
  const first = child.pid ?? 0
  process.kill(first, 'SIGKILL')
  await log.records.waitFor(({ fields }) => fields.cause === 'SIGKILL')
  const second = await eventually(
    () => (given.length === 2 && child.pid !== first ? child.pid : undefined),
    'a restart',
  )
  t.same(given, [undefined, 'http://127.0.0.1:1234'])
  await eventually(() => isRunning(second) || undefined, 'the second life')
  await child.stop(1_000)
  t.equal(isRunning(second), false)
  t.equal(given.length, 2, 'and then not again')
})

t.test('a child that dies again and again is given more and more time', async t => {
  const { child, log } = supervise(t)
  await child.start()
  const deaths = () => log.records.items.filter(({ message }) => message.includes('died and is started again'))
  let last = 0
  for (let death = 0; death < 3; death++) {
    const pid = await eventually(() => (child.pid !== last ? child.pid : undefined), 'the next life')
    last = pid
    await eventually(() => isRunning(pid) || undefined, 'it to run')
    process.kill(pid, 'SIGKILL')
    await eventually(() => deaths().length > death || undefined, 'its death to be noticed')
  }
  t.same(
    deaths().map(({ fields }) => fields.delayMs),
    [0, 200, 400],
  )
})

t.test('what keeps it from starting is told', async t => {
  await t.rejects(supervise(t, 'refuses').child.start(), { code: 'WTR_LISTEN_FAILED', message: 'port 1 is in use' })
  await t.rejects(supervise(t, 'dies').child.start(), {
    code: 'WTR_CHILD_DIED',
    message: 'a process of the node ended while starting (7)',
  })
})

t.test('a stop while it waits for the next start', async t => {
  const { child, log, given } = supervise(t)
  await child.start()
  const first = child.pid ?? 0
  process.kill(first, 'SIGKILL')
  await log.records.waitForCount(1)
  await child.stop(0)
  t.ok(given.length <= 2)
  await t.resolves(child.stop(0), 'twice is no harm')
})
