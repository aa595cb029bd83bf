import { silentLogger } from '@waiter/base'
import { createNodeAuth } from '@waiter/control'
import { DEFAULT_CONTACT_LIMITS, type FleetHost, type Scheduler, schedulerError } from '@waiter/schedulers'
import { createExampleDefinition, SchedulerView } from '@waiter/schedulers/contract'
import t from 'tap'
import { ClusterFleet } from '../src/control/cluster-fleet.ts'

const SERVICE = createExampleDefinition('s', 'true')

/** A host on which a service runs, and nothing can be done. */
function hostWithService(hostId: string): FleetHost {
  const refuse = async (): Promise<never> => {
    throw schedulerError('WTR_START_FAILED', 'not here')
  }
  const scheduler: Scheduler = {
    name: 'fixed',
    async *watch(signal) {
      yield { kind: 'listing', services: [{ definition: SERVICE, requested: 1, instances: [] }] }
      await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }))
    },
    create: refuse,
    scale: refuse,
    kill: refuse,
    delete: refuse,
    update: refuse,
    logs: refuse,
    readLog: refuse,
  }
  return { hostId, scheduler, capacity: () => ({ cpus: 1, memMb: 1 }) }
}

t.test('hosts are those that have control nodes; this one needs none to be reached', async test => {
  let places = [{ hostId: 'own', address: '' }]
  let tell: () => void = () => undefined
  const fleet = new ClusterFleet({
    local: hostWithService('own'),
    source: {
      places: () => places,
      onMembersChange: listener => {
        tell = listener
        return () => undefined
      },
      leavingHosts: () => [],
    },
    drains: () => false,
    moveMsMax: 1_000,
    term: 1,
    auth: createNodeAuth({ secrets: ['a secret of sixteen letters'], nodeId: 'n' }),
    limits: DEFAULT_CONTACT_LIMITS,
    log: silentLogger,
  })
  test.teardown(() => fleet.stop())
  await using view = new SchedulerView(fleet.scheduler)
  await view.until('what runs here', () => view.services.get('s')?.requested === 1)
  const hostIds = (): string[] => [...fleet.hostIds]
  test.same(hostIds(), ['own'])
  places = [...places, { hostId: 'b', address: '127.0.0.1:1' }, { hostId: 'b', address: '127.0.0.1:2' }]
  tell()
  test.same(hostIds(), ['own', 'b'])
  places = [
    { hostId: 'own', address: '' },
    { hostId: '', address: '' },
  ]
  tell()
  test.same(hostIds(), ['own', 'b'], 'a member of an unknown host may be of that one')
  places = [
    { hostId: 'own', address: '' },
    { hostId: 'c', address: '' },
  ]
  tell()
  test.same(hostIds(), ['own', 'c'], 'also before it is known where it is')
})
