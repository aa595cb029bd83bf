import { silentLogger } from '@waiter/base'
import { createServicesConfig, type OverridesRecord } from '@waiter/services'
import { createMemoryStore, type KeyValueStore } from '@waiter/store'
import { StoreMirror } from '@waiter/store/port'
import t from 'tap'
import { OverrideService } from '../src/overrides/override-service.ts'

const services = createServicesConfig()
const core = { cmd: 'serve', cpus: 1, mem: 64, 'run-as-user': 'alice', version: '1' }

function setUp(store: KeyValueStore = createMemoryStore()) {
  const mirror = new StoreMirror<OverridesRecord>({
    store,
    prefix: 'overrides/',
    parse: text => JSON.parse(text) as OverridesRecord,
    log: silentLogger,
  })
  const service = new OverrideService({ store, mirror, services })
  const merge = (body: unknown, requester = 'alice') =>
    service.merge({ serviceId: 's', core, body, requester, nowMs: 5 })
  return { store, mirror, service, merge }
}

t.test('overrides are merged over what is stored, and known at once', async t => {
  const { mirror, service, merge } = setUp()
  t.equal(await service.read('s'), undefined)
  await merge({ 'min-instances': 2 })
  const expected = { overrides: { 'max-instances': 7, 'min-instances': 2 }, 'last-updated-by': 'bob', time: 5 }
  t.same(await merge({ 'max-instances': 7 }, 'bob'), expected)
  t.same(await service.read('s'), expected)
  t.same(mirror.find('s'), expected)
  t.equal(await service.clear('s'), true)
  t.equal(await service.clear('s'), false)
  t.equal(mirror.find('s'), undefined)
})

t.test('what the rules refuse is a 400 with their sentence', async t => {
  const { service, merge } = setUp()
  await t.rejects(merge({ cmd: 'other' }), {
    status: 400,
    message: 'Cannot override the following parameter(s): cmd',
  })
  await t.rejects(merge({ 'min-instances': 900 }), { status: 400, message: /less than or equal to max-instances/ })
  t.equal(await service.read('s'), undefined)
})

t.test('two writers at once both get through', async t => {
  const { service, merge } = setUp()
  await Promise.all([merge({ 'min-instances': 2 }), merge({ 'max-instances': 7 }), merge({ 'scale-factor': 0.5 })])
  t.same((await service.read('s'))?.overrides, { 'max-instances': 7, 'min-instances': 2, 'scale-factor': 0.5 })
})

t.test('a writer who never gets through is told to try again', async t => {
  const inner = createMemoryStore()
  const store: KeyValueStore = { ...inner, compareAndSet: async () => ({ kind: 'conflict', current: undefined }) }
  await t.rejects(setUp(store).merge({ 'min-instances': 2 }), { status: 503, code: 'WTR_OVERRIDES_BUSY' })
})
