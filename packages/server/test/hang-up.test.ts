import { kitchenCommand, startWaiter } from '@waiter/testkit'
import t from 'tap'

t.test('closing the terminal (SIGHUP to the whole group) stops Waiter and its instances as Ctrl-C does', async t => {
  const waiter = await startWaiter()
  t.teardown(() => waiter.stop())
  const headers = {
    'x-waiter-cmd': kitchenCommand(),
    'x-waiter-cpus': '0.1',
    'x-waiter-health-check-url': '/status',
    'x-waiter-mem': '256',
    'x-waiter-name': 'hang-up',
    'x-waiter-version': '1',
  }
  t.equal((await waiter.request({ headers })).status, 200)
  t.not(waiter.instanceProcesses().length, 0, 'an instance runs')
  t.equal(await waiter.interrupt('SIGHUP'), 0)
  t.same(waiter.instanceProcesses(), [], 'nothing is left')
  t.notMatch(waiter.log(), 'died and is started again')
})
