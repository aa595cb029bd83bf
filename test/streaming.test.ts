import { fileURLToPath } from 'node:url'
import { eventually, residentBytes, startWaiter, type TestResponse } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { dial, type RawPeer } from '../packages/proxy/test/support/raw-peer.ts'
import { describeService, postToken, serviceIdOf } from './support/services.ts'

const waiter = await startWaiter()
t.teardown(() => waiter.stop())

const BACKEND = fileURLToPath(new URL('support/stepping-backend.ts', import.meta.url))
const TOKEN = 'streams'
await postToken(
  waiter,
  TOKEN,
  describeService(`exec '${process.execPath}' '${BACKEND}' $PORT0`, { 'concurrency-level': 50, 'max-instances': 1 }),
)
const ask = (path: string): Promise<TestResponse> => waiter.request({ path, headers: { 'x-waiter-token': TOKEN } })
await ask('/')
const serviceId = await serviceIdOf(waiter, { 'x-waiter-token': TOKEN })

async function begin(t: Test, method: string, path: string, more = '', body = '', version = '1.1'): Promise<RawPeer> {
  const client = await dial(waiter.port)
  t.teardown(() => client.socket.destroy())
  client.write(`${method} ${path} HTTP/${version}\r\nhost: a\r\nx-waiter-token: ${TOKEN}\r\n${more}\r\n${body}`)
  return client
}

async function expectAllReleased(t: Test): Promise<void> {
  const released = await eventually(async () => {
    const { state } = await waiter.api(`/state/${serviceId}`)
    const instances = Object.values(state['responder-state']['instance-id->state']) as Record<string, number>[]
    return state['request-counts'].outstanding === 0 && instances.every(one => one['slots-used'] === 0)
      ? true
      : undefined
  }, 'all slots to be released')
  t.ok(released, 'all slots are back')
}

/** Memory of all the router's processes. */
const routerBytes = (): number =>
  waiter.processes('router').reduce((sum, { pid }) => sum + (residentBytes(pid) ?? Number.NaN), 0)

const COUNT = 12

t.test('every event reaches the client before the next is sent', async t => {
  for (const framing of ['chunked', 'length', 'close']) {
    for (const version of ['1.1', '1.0']) {
      await t.test(`${framing}, to HTTP/${version}`, async t => {
        const id = `${framing}-${version}`
        const client = await begin(t, 'GET', `/steps?id=${id}&framing=${framing}&count=${COUNT}`, '', '', version)
        for (let step = 0; step < COUNT; step++) {
          await client.until(`step ${String(step).padStart(3, '0')}\n\n`)
          t.equal(client.text.split('step ').length - 1, step + 1, 'and no event that was not confirmed')
          await ask(`/confirm?id=${id}`)
        }
        if (framing === 'chunked' && version === '1.1') await client.until('\r\n0\r\n\r\n')
        else if (framing !== 'length') await client.ended()
        await expectAllReleased(t)
      })
    }
  }
})

t.test('a response that breaks off looks broken to the client', async t => {
  for (const framing of ['chunked', 'length', 'close']) {
    for (const how of ['fin', 'reset']) {
      // A body that ends with the connection has no other end: FIN is a proper one.
      if (framing === 'close' && how === 'fin') continue
      await t.test(`${framing}, ${how}`, async t => {
        const client = await begin(t, 'GET', `/breaks?framing=${framing}&how=${how}`)
        await client.until('a part')
        await ask('/break')
        await client.ended()
        t.notMatch(client.text, '\r\n0\r\n\r\n', 'no last chunk')
        if (framing === 'close') t.equal(client.error?.code, 'ECONNRESET', 'a reset, since FIN would be a proper end')
        await expectAllReleased(t)
      })
    }
  }
})

t.test('a killed instance breaks the responses that it was sending', async t => {
  await postToken(
    waiter,
    'mortal',
    describeService(`exec '${process.execPath}' '${BACKEND}' $PORT0 mortal`, { 'concurrency-level': 5 }),
  )
  const headers = { 'x-waiter-token': 'mortal' }
  t.equal((await waiter.request({ headers })).status, 200)
  const rows = await Promise.all(
    ['chunked', 'length'].map(async framing => {
      const client = await dial(waiter.port)
      t.teardown(() => client.socket.destroy())
      client.write(`GET /steps?id=${framing}&framing=${framing}&count=9 HTTP/1.1\r\nhost: mortal\r\n\r\n`)
      await client.until('step 000\n\n')
      return client
    }),
  )
  const victim = waiter.instanceProcesses().find(({ words }) => words.includes('mortal'))
  process.kill(victim?.pid as number, 'SIGKILL')
  for (const client of rows) {
    await client.ended()
    t.notMatch(client.text, '\r\n0\r\n\r\n')
    t.notMatch(client.text, 'step 001')
  }
})

t.test('1xx responses pass before the final one', async t => {
  const client = await begin(t, 'GET', '/interim')
  await client.until('link: </style.css>\r\n\r\n')
  t.match(client.text, /^HTTP\/1\.1 103 Early Hints\r\n/)
  t.notMatch(client.text, 'final', 'the final one is not there yet')
  await ask('/go-on')
  await client.until('final')
})

t.test('trailers pass', async t => {
  const client = await begin(t, 'GET', '/trailers')
  await client.until('\r\n0\r\nx-sum: 42\r\n\r\n')
})

t.test('Expect: 100-continue is the backend’s to decide', async t => {
  const willing = await begin(t, 'POST', '/continues', 'content-length: 5\r\nexpect: 100-continue\r\n')
  await willing.until('HTTP/1.1 100 Continue\r\n\r\n')
  willing.write('12345')
  await willing.until('got 5')
  const refused = await begin(t, 'POST', '/refuses', 'content-length: 5\r\nexpect: 100-continue\r\n')
  await refused.until('413 Content Too Large')
  await refused.ended()
  t.notMatch(refused.text, '100 Continue')
  await expectAllReleased(t)
})

t.test('an answer that comes before the body is through', async t => {
  const head = 'transfer-encoding: chunked\r\n'
  for (const path of ['/early', '/early-close']) {
    await t.test(path, async t => {
      const client = await begin(t, 'POST', path, head, '3\r\nabc\r\n')
      await client.until('early')
      t.match(client.text, /^HTTP\/1\.1 200 /)
      for (let i = 0; i < 20 && !client.isClosed; i++) client.write('3\r\ndef\r\n')
      client.write('0\r\n\r\n')
      await expectAllReleased(t)
    })
  }
})

t.test('both directions stream at once', async t => {
  const client = await begin(t, 'POST', '/echo', 'transfer-encoding: chunked\r\n')
  for (let i = 0; i < COUNT; i++) {
    client.write(`6\r\nping${String(i).padStart(2, '0')}\r\n`)
    await client.until(`ping${String(i).padStart(2, '0')}`)
  }
  client.write('0\r\n\r\n')
  await client.until('\r\n0\r\n\r\n')
  await expectAllReleased(t)
})

const MIB = 1024 * 1024
/** What the kernel holds on two connections, and the router's own bounds, stay far below this. */
const HELD_BYTES_MAX = 48 * MIB
const FLOOD_BYTES = 192 * MIB

t.test('a client that does not read holds up the backend, not the router’s memory', async t => {
  const before = routerBytes()
  const client = await begin(t, 'GET', `/flood?bytes=${FLOOD_BYTES}`)
  client.socket.pause()
  let last = -1
  const taken = await eventually(
    async () => {
      const now = Number((await ask('/flooded')).text)
      const isStill = now === last && now > 0
      last = now
      return isStill ? now : undefined
    },
    'the backend to be held up',
    { everyMs: 200 },
  )
  t.ok(taken < HELD_BYTES_MAX, `the backend got rid of ${Math.round(taken / MIB)} MiB`)
  t.ok(routerBytes() - before < HELD_BYTES_MAX, 'the router holds no more')
  let received = 0
  client.socket.removeAllListeners('data')
  await new Promise<void>(resolve => {
    client.socket.on('data', piece => {
      received += piece.length
      if (received >= FLOOD_BYTES) resolve()
    })
    client.socket.resume()
  })
  t.ok(received >= FLOOD_BYTES, 'then it gets all of it')
  t.ok(routerBytes() - before < HELD_BYTES_MAX, 'without a trace in the router’s memory')
  await expectAllReleased(t)
})

t.test('a backend that does not read holds up the client, not the router’s memory', async t => {
  const before = routerBytes()
  const head = `x-waiter-streaming-timeout: 1500\r\ncontent-length: ${FLOOD_BYTES}\r\n`
  const [client, patient] = [await begin(t, 'POST', '/deaf', head), await begin(t, 'POST', '/deaf', head)]
  const piece = Buffer.alloc(MIB, 'u')
  let sent = 0
  for (;;) {
    const isTaken = await new Promise<boolean>(resolve => {
      client.socket.write(piece, () => resolve(true))
      // A second without progress, with everything on one machine, is a held-up sender.
      setTimeout(() => resolve(false), 1_000).unref()
    })
    if (!isTaken) break
    sent += piece.length
    if (sent > HELD_BYTES_MAX) break
  }
  t.ok(sent < HELD_BYTES_MAX, `the client got rid of ${sent / MIB} MiB`)
  t.ok(routerBytes() - before < HELD_BYTES_MAX)
  t.comment('Nobody reads from a client that is held up, so nobody notices its leaving: time ends it.')
  client.socket.destroy()
  patient.write(Buffer.alloc(HELD_BYTES_MAX))
  await patient.until('unable to stream request bytes')
  t.match(patient.text, /^HTTP\/1\.1 503 /)
  await expectAllReleased(t)
})
