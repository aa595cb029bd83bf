import { readFileSync } from 'node:fs'
import { makeZombie } from '@waiter/testkit'
import t from 'tap'
import { nodeProcesses } from '../src/journal/lock.ts'

t.test('this process runs, under its identity and no other', async t => {
  t.ok(nodeProcesses.isRunning(nodeProcesses.self))
  const [pid, startTime, bootId] = nodeProcesses.self.split(' ')
  t.notOk(nodeProcesses.isRunning(`${pid} ${Number(startTime) - 1} ${bootId}`), 'an earlier process of the same id')
  t.notOk(nodeProcesses.isRunning(`${pid} ${startTime} another-boot`))
})

t.test('a zombie holds no lock: it has ended, though /proc still lists it', async t => {
  const zombie = await makeZombie()
  t.teardown(() => zombie.bury())
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  t.notOk(nodeProcesses.isRunning(`${zombie.pid} ${zombie.startTime} ${bootId}`))
})
