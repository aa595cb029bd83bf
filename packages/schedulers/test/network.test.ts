import t from 'tap'
import { createExampleDefinition } from '../src/contract.ts'
import { nodeCommand } from './support/commands.ts'
import { FENCE, openScheduler } from './support/open.ts'

const network = { advertise: '127.0.0.2', listen: '127.0.0.2' }
const listenOn = (host: string): string =>
  nodeCommand(`require("node:http").createServer((q,r)=>r.end("ok")).listen(process.env.PORT0,${host})`)
const ON_HOST = listenOn('process.env.HOST')

t.test('a service that listens on $HOST is reached at the address it was assigned', async test => {
  const { scheduler, view } = await openScheduler(test)
  await scheduler.create(createExampleDefinition('s', ON_HOST), 1, FENCE)
  const [instance] = await view.untilHealthy('s', 1)
  const [started] = view.history.flatMap(event => (event.kind === 'instance' ? [event.instance] : []))
  test.equal(instance?.host, started?.host)
  test.match(instance?.host, /^127\.0\.0\./, 'nobody outside this machine reaches it')
})

t.test('the HOST of the service itself wins', async test => {
  const { scheduler, view } = await openScheduler(test)
  await scheduler.create(createExampleDefinition('s', ON_HOST, { env: { HOST: '127.0.0.1' } }), 1, FENCE)
  const [instance] = await view.untilHealthy('s', 1)
  test.equal(instance?.host, '127.0.0.1')
})

t.test('where other hosts are, an instance is one that they reach', async test => {
  const { scheduler, view, timers } = await openScheduler(test, { network })
  await scheduler.create(createExampleDefinition('s', ON_HOST), 1, FENCE)
  await scheduler.create(createExampleDefinition('all', listenOn('"0.0.0.0"')), 1, FENCE)
  const alone = createExampleDefinition('alone', listenOn('"127.0.0.1",()=>console.log("listens")'))
  await scheduler.create(alone, 1, FENCE)
  const [onHost] = await view.untilHealthy('s', 1)
  const [onAll] = await view.untilHealthy('all', 1)
  test.same([onHost?.host, onAll?.host], [network.advertise, network.advertise])
  timers.advance(alone.effective['grace-period-secs'] * 1000)
  const [failed] = await view.until('it is given up', () => {
    const ended = view.inState('alone', 'failed')
    return ended.length > 0 && ended
  })
  test.match(failed?.message, /nothing accepts connections at 127\.0\.0\.2: does it listen on \$HOST\?/)
})

t.test('what ran before other hosts came is reached by them after the restart, or is unhealthy', async test => {
  const { scheduler, view, reopen } = await openScheduler(test)
  await scheduler.create(createExampleDefinition('all', listenOn('"0.0.0.0"')), 1, FENCE)
  await scheduler.create(createExampleDefinition('alone', listenOn('"127.0.0.1"')), 1, FENCE)
  await view.untilHealthy('all', 1)
  await view.untilHealthy('alone', 1)
  const after = (await reopen({ network })).view
  await after.until('it is reached', () => after.inState('all', 'healthy')[0]?.host === network.advertise)
  await after.until('it is not', () => after.inState('alone', 'unhealthy').length === 1)
})
