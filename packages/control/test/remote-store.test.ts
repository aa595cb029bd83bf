import { once } from 'node:events'
import { silentLogger } from '@waiter/base'
import {
  type ControlLocator,
  createKeyValueHandlers,
  createRemoteStore,
  KeyValueServiceService,
  onlyControl,
  startRpcServer,
} from '@waiter/control'
import { type Change, createMemoryStore, type KeyValueStore, type OnceOutcome, type WriteSessions } from '@waiter/store'
import { keyValueStoreContract } from '@waiter/store/contract'
import { createRecorder, eventually, within } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { auth, portOf } from './support/rpc-world.ts'

interface Pair {
  readonly local: KeyValueStore
  readonly remote: KeyValueStore
  stopServer(): void
  readonly port: number
}

async function serve(t: Test, local: KeyValueStore = createMemoryStore(), port = 0): Promise<Pair> {
  const server = await startRpcServer(
    { host: '127.0.0.1', port },
    [{ definition: KeyValueServiceService, handlers: { ...createKeyValueHandlers(local, silentLogger) } }],
    auth,
  )
  const remote = createRemoteStore(onlyControl(server.address), auth)
  t.teardown(async () => {
    await remote.close()
    server.close()
  })
  return { local, remote, stopServer: () => server.close(), port: portOf(server) }
}

const watchQueueChangesMax = 16

t.test('the contract of stores holds across the network', async t => {
  const contract = keyValueStoreContract({
    create: async () => {
      const { local, remote } = await serve(
        t,
        createMemoryStore({ watchLimits: { queueChangesMax: watchQueueChangesMax } }),
      )
      return {
        ...remote,
        close: async () => {
          // The store of a cluster is closed where it lives.
          await local.close()
        },
      }
    },
    watchQueueChangesMax,
  })
  // The buffers of a connection hold more than that case writes: the test below writes more.
  const cases = contract.filter(({ name }) => !name.includes('lags'))
  t.equal(cases.length, contract.length - 1)
  for (const { name, run } of cases) await t.resolves(within(run(), name, { timeoutMs: 60_000 }), name)
})

t.test('a watcher that reads too slowly is told so', async t => {
  const { local, remote } = await serve(t, createMemoryStore({ watchLimits: { queueChangesMax: 16 } }))
  const watch = remote.watch('', new AbortController().signal)[Symbol.asyncIterator]()
  t.match(await watch.next(), { value: { kind: 'synced' } })
  const WRITES = 200
  for (let count = 0; count < WRITES; count++) {
    await local.compareAndSet(`key-${count}`, 0, 'x'.repeat(100_000))
    // The network gets its turn: what is not read meanwhile waits in the store's queue.
    await new Promise(resolve => setImmediate(resolve))
  }
  const readAll = async (): Promise<void> => {
    for (let count = 0; count < WRITES; count++) await watch.next()
  }
  await t.rejects(within(readAll(), 'the end of the watch', { timeoutMs: 10_000 }), { code: 'WTR_WATCH_LAGGED' })
})

t.test('failures keep their code', async t => {
  const { local, remote, stopServer } = await serve(t)
  await t.rejects(remote.compareAndSet('', 0, 'x'), { code: 'WTR_STORE_LIMIT', retryable: false })
  await local.close()
  await t.rejects(remote.get('a'), { code: 'WTR_STORE_UNAVAILABLE', retryable: true, status: 503 })
  await t.rejects(
    (async () => {
      for await (const _ of remote.list('')) t.fail('there is nothing')
    })(),
    { code: 'WTR_STORE_UNAVAILABLE' },
  )
  stopServer()
  await t.rejects(remote.get('a'), { code: 'WTR_CONTROL_UNREACHABLE', retryable: true, status: 503 })
})

function follow(
  store: KeyValueStore,
  signal: AbortSignal,
): { changes: ReturnType<typeof createRecorder<Change>>; ended: Promise<unknown> } {
  const changes = createRecorder<Change>()
  const ended = (async () => {
    try {
      for await (const change of store.watch('k/', signal)) changes.push(change)
      return 'ended'
    } catch (error) {
      return error
    }
  })()
  return { changes, ended }
}

t.test('a watch ends when the server goes, when the store closes, and when nobody wants it any more', async t => {
  await t.test('the server goes', async t => {
    const { remote, local, stopServer, port } = await serve(t)
    await local.compareAndSet('k/a', 0, '1')
    const { changes, ended } = follow(remote, new AbortController().signal)
    await changes.waitFor(change => change.kind === 'synced')
    stopServer()
    t.match(await within(ended, 'the end of the watch'), { retryable: true })
    await serve(t, local, port)
    await local.compareAndSet('k/b', 0, '2')
    const again = follow(remote, new AbortController().signal)
    await again.changes.waitFor(change => change.kind === 'put' && change.entry.key === 'k/b')
    t.match(again.changes.items[0], { kind: 'put', entry: { key: 'k/a' } }, 'everything is told anew')
  })
  await t.test('the store closes', async t => {
    const { remote, local } = await serve(t)
    const { changes, ended } = follow(remote, new AbortController().signal)
    await changes.waitFor(change => change.kind === 'synced')
    await local.close()
    t.equal(await within(ended, 'the end of the watch'), 'ended')
  })
  await t.test('the watcher aborts: the server lets go as well', async t => {
    const local = createMemoryStore()
    const signals: AbortSignal[] = []
    const { remote } = await serve(t, {
      ...local,
      watch: (prefix, signal) => {
        signals.push(signal)
        return local.watch(prefix, signal)
      },
    })
    const stop = new AbortController()
    const { changes, ended } = follow(remote, stop.signal)
    await changes.waitFor(change => change.kind === 'synced')
    stop.abort()
    t.equal(await within(ended, 'the end of the watch'), 'ended')
    const [signal] = signals
    if (signal && !signal.aborted) await within(once(signal, 'abort'), 'the server to let go')
    t.equal(signals.length, 1)
  })
  await t.test('a reader that leaves a listing early: the server lets go as well', async t => {
    const local = createMemoryStore()
    let isOver = false
    const { remote } = await serve(t, {
      ...local,
      list: async function* () {
        try {
          for (let index = 0; ; index++) yield { key: `k/${index}`, value: 'x'.repeat(10_000), version: index + 1 }
        } finally {
          isOver = true
        }
      },
    })
    for await (const { version } of remote.list('k/')) if (version === 3) break
    await eventually(() => isOver || undefined, 'the end of the listing')
  })
})

/** Two control nodes of one store, and a locator that says who leads. The first may apply a write and never answer it. */
async function twoControls(t: Test) {
  const local = createMemoryStore()
  const outcomes = new Map<string, Promise<OnceOutcome>>()
  const asked: string[] = []
  let isFirstSilent = false
  let opened = 0
  let isForgetful = false
  const sessions = (name: string): WriteSessions => ({
    openSession: async () => ++opened,
    compareAndSetOnce: async ({ key, expected, value }, { session, sequence }) => {
      asked.push(name)
      const known = `${session} ${sequence}`
      const outcome: Promise<OnceOutcome> =
        isForgetful && name === 'second'
          ? Promise.resolve({ kind: 'refused', mayHaveHappened: false })
          : (outcomes.get(known) ?? local.compareAndSet(key, expected, value))
      outcomes.set(known, outcome)
      return isFirstSilent && name === 'first' ? await new Promise(() => undefined) : await outcome
    },
  })
  const servers = await Promise.all(
    ['first', 'second'].map(name =>
      startRpcServer(
        { host: '127.0.0.1', port: 0 },
        [
          {
            definition: KeyValueServiceService,
            handlers: { ...createKeyValueHandlers({ ...local, ...sessions(name) }, silentLogger) },
          },
        ],
        auth,
      ),
    ),
  )
  const [first, second] = servers.map(({ address }) => address) as [string, string]
  let leader = first
  const listeners = new Set<() => void>()
  const locator: ControlLocator = {
    leader: () => leader,
    any: () => leader,
    hasOthers: true,
    onLeader: listener => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const remote = createRemoteStore(locator, auth)
  t.teardown(async () => {
    await remote.close()
    for (const server of servers) server.close()
  })
  return {
    remote,
    asked,
    silenceFirst: () => (isFirstSilent = true),
    forgetAtSecond: () => (isForgetful = true),
    secondLeads: () => {
      leader = second
      for (const listener of [...listeners]) listener()
    },
    closeFirst: () => servers[0]?.close(),
    untilAsked: (name: string) => eventually(() => asked.includes(name) || undefined, `${name} to be asked`),
  }
}

t.test('a write that a former leader does not answer is put to the next one, and applied once', async t => {
  const { remote, asked, silenceFirst, secondLeads, untilAsked } = await twoControls(t)
  silenceFirst()
  const writing = remote.compareAndSet('a', 0, '1')
  await untilAsked('first')
  secondLeads()
  t.same(await writing, { kind: 'written', version: 1 })
  t.same(asked, ['first', 'second'])
  t.same(await remote.compareAndSet('a', 1, '2'), { kind: 'written', version: 2 })
})

t.test('the same when the former leader dies', async t => {
  const { remote, silenceFirst, secondLeads, untilAsked, closeFirst } = await twoControls(t)
  silenceFirst()
  const writing = remote.compareAndSet('a', 0, '1')
  await untilAsked('first')
  closeFirst()
  secondLeads()
  t.same(await writing, { kind: 'written', version: 1 })
})

t.test('when the next one has forgotten the session, nobody pretends to know', async t => {
  const { remote, silenceFirst, secondLeads, untilAsked, forgetAtSecond } = await twoControls(t)
  silenceFirst()
  forgetAtSecond()
  const writing = remote.compareAndSet('a', 0, '1')
  await untilAsked('first')
  secondLeads()
  await t.rejects(writing, { code: 'WTR_STORE_UNAVAILABLE', retryable: true, message: /not known/ })
})

t.test('a read that a former leader does not answer is put to the next one', async t => {
  const { remote, secondLeads } = await twoControls(t)
  await remote.compareAndSet('a', 0, '1')
  const reading = remote.get('a')
  secondLeads()
  t.match(await reading, { value: '1' })
})
