import { silentLogger } from '@waiter/base'
import { createServicesConfig, createSimpleEntitlements, type TokenRecord } from '@waiter/services'
import { type Change, createMemoryStore, type KeyValueStore } from '@waiter/store'
import { createTestLogger, eventually, within } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { DescriptorCache } from '../src/request/descriptor-cache.ts'
import { TokenReplica } from '../src/tokens/token-replica.ts'
import { TokenService } from '../src/tokens/token-service.ts'
import { headOf } from './support/fake-exchange.ts'
import { createVersions } from './support/versions.ts'

const config = createServicesConfig({ waiterHostnames: ['localhost'] })
const entitlements = createSimpleEntitlements(['alice'])

const token = (changes: Partial<TokenRecord> = {}): TokenRecord => ({
  cmd: 'serve',
  cpus: 1,
  mem: 256,
  version: '1',
  'run-as-user': 'alice',
  'permitted-user': '*',
  owner: 'alice',
  cluster: 'waiter',
  root: 'waiter',
  'last-update-time': 1_700_000_000_000,
  'last-update-user': 'alice',
  ...changes,
})
const text = (changes: Partial<TokenRecord> = {}): string => JSON.stringify(token(changes))

/** A store whose watch is in the test's hands. */
class FakeStore {
  readonly watches: { push(change: Change): void; fail(error: Error): void; end(): void }[] = []
  readonly #inner = createMemoryStore()
  conflicts = 0

  get store(): KeyValueStore {
    return {
      ...this.#inner,
      compareAndSet: async (key, expected, value) => {
        if (this.conflicts === 0) return this.#inner.compareAndSet(key, expected, value)
        // Somebody else was quicker.
        this.conflicts -= 1
        const now = await this.#inner.get(key)
        const other = text({ version: `other-${this.conflicts}` })
        await this.#inner.compareAndSet(key, now?.version ?? 0, other)
        return { kind: 'conflict', current: await this.#inner.get(key) }
      },
      watch: (_prefix, signal) => this.#watch(signal),
    }
  }

  async *#watch(signal: AbortSignal): AsyncIterable<Change> {
    const queue: (Change | Error | 'end')[] = []
    let wake: () => void = () => undefined
    const add = (item: Change | Error | 'end'): void => {
      queue.push(item)
      wake()
    }
    this.watches.push({ push: add, fail: add, end: () => add('end') })
    signal.addEventListener('abort', () => add('end'))
    for (;;) {
      const item = queue.shift()
      if (item === 'end') return
      if (item instanceof Error) throw item
      if (item !== undefined) yield item
      else
        await new Promise<void>(resolve => {
          wake = resolve
        })
    }
  }
}

const put = (name: string, version: number, changes: Partial<TokenRecord> = {}): Change => ({
  kind: 'put',
  entry: { key: `tokens/${name}`, value: text(changes), version },
})
const synced = (version: number): Change => ({ kind: 'synced', version })

function follow(
  t: Test,
  log = silentLogger,
): { fake: FakeStore; replica: TokenReplica; watch: (n: number) => Promise<FakeStore['watches'][number]> } {
  const fake = new FakeStore()
  const replica = new TokenReplica(fake.store, log)
  const running = replica.run()
  t.teardown(async () => {
    replica.stop()
    await running
  })
  return { fake, replica, watch: index => eventually(() => fake.watches[index], `watch ${index}`) }
}

const turn = () => new Promise(resolve => setImmediate(resolve))

t.test('a replica', async t => {
  await t.test('is ready when everything has been read once', async t => {
    const { replica, watch } = follow(t)
    const first = await watch(0)
    first.push(put('a', 1))
    await turn()
    t.equal(replica.isSynced, false)
    first.push(synced(1))
    await within(replica.ready, 'readiness')
    t.match(replica.find('a'), { record: { cmd: 'serve' }, version: 1, etag: /^E-/ })
    t.equal(replica.size, 1)
  })

  await t.test('keeps what it knows while the store is away, and then forgets what is gone', async t => {
    const { replica, watch } = follow(t)
    const first = await watch(0)
    for (const change of [put('kept', 1), put('gone', 2), synced(2)]) first.push(change)
    await replica.ready
    first.fail(new Error('connection lost'))
    const second = await watch(1)
    t.equal(replica.size, 2)
    second.push(put('kept', 1))
    await turn()
    t.ok(replica.find('gone'), 'the listing is not complete yet')
    second.push(synced(5))
    await turn()
    t.equal(replica.find('gone'), undefined)
    t.ok(replica.find('kept'))
    second.end()
    const third = await watch(2)
    t.ok(third, 'a watch that ends without an error is opened anew as well')
  })

  await t.test('does not go back to an older state, whatever comes late', async t => {
    const { replica, watch } = follow(t)
    const first = await watch(0)
    for (const change of [put('a', 1), put('b', 2), synced(2)]) first.push(change)
    await replica.ready
    replica.learn('a', text({ version: 'new' }), 7)
    first.push(put('a', 5, { version: 'older' }))
    await turn()
    t.equal(replica.find('a')?.record.version, 'new', 'our own write is newer than what the watch tells')
    first.push({ kind: 'delete', key: 'tokens/b', version: 8 })
    await turn()
    t.equal(replica.find('b'), undefined)
    replica.learn('b', text(), 2)
    t.equal(replica.find('b'), undefined, 'a read from before the deletion')
    replica.learn('b', text(), 9)
    t.ok(replica.find('b'), 'written anew')
  })

  await t.test('what we deleted stays deleted, although the watch still tells of earlier writes', async t => {
    const { replica, watch } = follow(t)
    const first = await watch(0)
    for (const change of [put('a', 1), synced(1)]) first.push(change)
    await replica.ready
    replica.learn('a', undefined, 4)
    first.push(put('a', 3))
    await turn()
    t.equal(replica.find('a'), undefined)
    first.push({ kind: 'delete', key: 'tokens/a', version: 4 })
    first.push(put('a', 5))
    await turn()
    t.ok(replica.find('a'), 'a later write counts')
  })

  await t.test('a value that cannot be read does not keep the others from being known', async t => {
    const log = createTestLogger()
    const { replica, watch } = follow(t, log)
    const first = await watch(0)
    first.push({ kind: 'put', entry: { key: 'tokens/broken', value: '{', version: 1 } })
    for (const change of [put('fine', 2), synced(2)]) first.push(change)
    await within(replica.ready, 'readiness')
    t.ok(replica.find('fine'))
    t.match(await log.records.waitFor(({ level }) => level === 'error'), { fields: { key: 'tokens/broken' } })
  })

  await t.test('counts generations: with every change, and only then', async t => {
    const { replica, watch } = follow(t)
    const first = await watch(0)
    for (const change of [put('a', 1), synced(1)]) first.push(change)
    await replica.ready
    const before = replica.generation
    first.push(put('a', 1))
    await turn()
    t.equal(replica.generation, before, 'told again')
    first.push(put('a', 2))
    await turn()
    t.equal(replica.generation, before + 1)
  })
})

t.test('the descriptor cache', async t => {
  const alice = { user: 'alice' }
  const setUp = () => {
    const replica = new TokenReplica(createMemoryStore(), silentLogger)
    const cache = new DescriptorCache({
      config,
      tokens: replica,
      versions: createVersions(entitlements).versions,
      isOneUser: true,
      findOverrides: () => undefined,
      findServiceDescription: () => undefined,
    })
    const find = (name: string, requester = 'alice') =>
      cache
        .select(headOf({ headers: { host: 'localhost' } }), new Map([['token', name]]))
        .resolveFor({ user: requester })
    return { replica, cache, find }
  }

  await t.test('remembers a selection until any token changes', async t => {
    const { replica, find } = setUp()
    replica.learn('app', text(), 1)
    const first = find('app')
    t.equal(first.ok, true)
    t.equal(find('app'), first, 'the very same')
    replica.learn('app', text({ cmd: 'serve more' }), 2)
    const second = find('app')
    t.not(second.ok && second.value.serviceId, first.ok && first.value.serviceId)
    replica.learn('app', text({ deleted: true }), 3)
    t.match(find('app'), { ok: false, error: { status: 404 } })
  })

  await t.test('does not mix users, nor hosts and headers', async t => {
    const { replica, cache, find } = setUp()
    replica.learn('app', text(), 1)
    t.equal(find('app').ok, true)
    t.match(cache.select(headOf({ headers: { host: 'app' } }), undefined).resolveFor(alice), { ok: true })
    t.match(cache.select(headOf({ headers: { host: 'localhost' } }), undefined).resolveFor(alice), { ok: false })
    t.not(find('app', 'bob'), find('app', 'alice'))
  })

  await t.test('does not remember failures', async t => {
    const { replica, find } = setUp()
    t.match(find('app'), { ok: false, error: { status: 404, kind: 'token-not-found' } })
    const { generation } = replica
    t.not(find('app'), find('app'))
    t.equal(replica.generation, generation)
  })

  await t.test('requests with a description of their own are worked out each time', async t => {
    const { replica, cache } = setUp()
    replica.learn('app', text(), 1)
    const headers = new Map([
      ['token', 'app'],
      ['cpus', '2'],
    ])
    const head = headOf({ headers: { host: 'localhost' } })
    const first = cache.select(head, headers).resolveFor(alice)
    t.match(first, { ok: true, value: { core: { cpus: 2 } } })
    t.not(cache.select(head, headers).resolveFor(alice), first)
  })

  await t.test('is bounded', async t => {
    const { replica, find } = setUp()
    const ENTRIES_MAX = 20_000
    replica.learn('app', text(), 1)
    const first = find('app', 'user-0')
    for (let user = 1; user < ENTRIES_MAX - 1; user++) find('app', `user-${user}`)
    t.equal(find('app', 'user-0'), first, 'not full yet')
    find('app', 'one more')
    find('app', 'one too many')
    t.not(find('app', 'user-0'), first, 'all were forgotten')
  })

  await t.test('a token down for maintenance is no plain selection', async t => {
    const { replica, cache } = setUp()
    const select = () => cache.select(headOf({ headers: { host: 'app' } }), undefined)
    replica.learn('app', text(), 1)
    t.equal(select().isPlain, true)
    replica.learn('app', text({ maintenance: { message: 'back soon' } }), 2)
    t.equal(select().isPlain, false)
    t.match(select().discovery, {
      ok: true,
      value: { maintenance: { token: 'app', owner: 'alice', message: 'back soon' } },
    })
  })

  await t.test('a service that was agreed to is another than one that was not', async t => {
    const replica = new TokenReplica(createMemoryStore(), silentLogger)
    const isOneUser = false
    const cache = new DescriptorCache({
      config,
      tokens: replica,
      versions: createVersions(entitlements).versions,
      isOneUser,
      findOverrides: () => undefined,
      findServiceDescription: () => undefined,
    })
    replica.learn('app', text({ 'run-as-user': '*', 'permitted-user': '*' }), 1)
    const selection = cache.select(headOf({ headers: { host: 'app' } }), undefined)
    t.match(selection.resolveFor(alice), { ok: false, error: { kind: 'consent-required' } })
    const agreed = selection.resolveFor({ ...alice, hasConsent: true })
    t.match(agreed, { ok: true, value: { core: { 'run-as-user': 'alice', 'permitted-user': 'alice' } } })
    t.equal(selection.resolveFor({ ...alice, hasConsent: true }), agreed, 'the very same')
    t.match(selection.resolveFor(alice), { ok: false }, 'still')
    t.match(selection.resolveFor({ user: 'bob', hasConsent: true }), { value: { core: { 'run-as-user': 'bob' } } })
  })
})

t.test('the token service', async t => {
  const setUp = () => {
    const fake = new FakeStore()
    const replica = new TokenReplica(fake.store, silentLogger)
    const tokens = new TokenService({ store: fake.store, replica, services: config, entitlements })
    const post = (version: string, ifMatch?: string) =>
      tokens.post({
        token: 'app',
        body: { cmd: 'serve', cpus: 1, mem: 256, version, 'run-as-user': 'alice' },
        updateMode: undefined,
        ifMatch,
        host: 'localhost',
        requester: 'alice',
        nowMs: Date.now(),
      })
    const remove = (isHardDelete: boolean, ifMatch?: string) =>
      tokens.delete({ token: 'app', isHardDelete, ifMatch, requester: 'alice', nowMs: Date.now() })
    return { fake, replica, tokens, post, remove }
  }

  await t.test('this router works with what was written from then on', async t => {
    const { replica, tokens, post, remove } = setUp()
    t.match(await post('1'), { operationResult: 'token-created' })
    t.equal(replica.find('app')?.record.version, '1')
    t.match(await post('2'), { operationResult: 'token-updated' })
    t.equal((await tokens.read('app')).record?.version, '2')
    t.match(await post('2'), { operationResult: 'token-no-op' })
    t.equal((await tokens.read('app')).version, 2, 'a no-op writes nothing')
    await remove(false)
    t.equal(replica.find('app')?.record.deleted, true)
    await post('3')
    t.match(await remove(true, replica.find('app')?.etag), {})
    t.equal(replica.find('app'), undefined)
    t.same(await tokens.read('app'), { record: undefined, version: 0 })
  })

  await t.test('when somebody else was quicker, it decides anew on what is there now', async t => {
    const { fake, tokens, post } = setUp()
    await post('1')
    fake.conflicts = 3
    t.match(await post('2'), { operationResult: 'token-updated' })
    const { record } = await tokens.read('app')
    t.equal(record?.version, '2')
    t.equal(record?.previous?.version, 'other-0', 'the history has what the other wrote')
  })

  await t.test('but not for ever', async t => {
    const { fake, post } = setUp()
    fake.conflicts = 10
    await t.rejects(post('1'), { code: 'WTR_TOKEN_BUSY', status: 503, retryable: true })
    t.equal(fake.conflicts, 0)
  })

  await t.test('a condition that no longer holds is not overrun by a retry', async t => {
    const { fake, replica, post } = setUp()
    await post('1')
    const etag = replica.find('app')?.etag
    fake.conflicts = 1
    await t.rejects(post('2', etag), { code: 'WTR_TOKEN_REFUSED', status: 412 })
  })

  await t.test('refusals of the rules', async t => {
    const { remove, post } = setUp()
    await t.rejects(remove(false), { code: 'WTR_TOKEN_REFUSED', status: 404 })
    await t.rejects(post('x'.repeat(2_000)), { status: 400, code: 'WTR_TOKEN_REFUSED' })
  })
})
