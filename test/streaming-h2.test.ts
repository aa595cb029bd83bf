import { once } from 'node:events'
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2'
import { fileURLToPath } from 'node:url'
import { eventually, startWaiter, type TestResponse, waitForEvent } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { describeService, postToken, serviceIdOf } from './support/services.ts'

// The same as streaming.test.ts, for clients that speak HTTP/2 to Waiter; the backend speaks HTTP/1.1.
const waiter = await startWaiter()
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
const session: ClientHttp2Session = connect(waiter.url)
t.teardown(async () => {
  session.destroy()
  await waiter.stop()
})

interface Reading {
  readonly stream: ClientHttp2Stream
  text(): string
  until(wanted: string): Promise<void>
}

function begin(path: string, more: Readonly<Record<string, string>> = {}, endStream = true): Reading {
  const stream = session.request({ ':path': path, 'x-waiter-token': TOKEN, ...more }, { endStream })
  stream.on('error', () => undefined)
  let text = ''
  let wake: (() => void) | undefined
  stream.setEncoding('latin1').on('data', (piece: string) => {
    text += piece
    wake?.()
  })
  stream.on('close', () => wake?.())
  return {
    stream,
    text: () => text,
    until: async wanted => {
      while (!text.includes(wanted)) {
        if (stream.closed) throw new Error(`the stream ended; received ${JSON.stringify(text)}`)
        await new Promise<void>(resolve => {
          wake = resolve
        })
      }
    },
  }
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

const COUNT = 12

t.test('every event reaches the client before the next is sent', async t => {
  for (const framing of ['chunked', 'length', 'close']) {
    await t.test(framing, async t => {
      const reading = begin(`/steps?id=h2-${framing}&framing=${framing}&count=${COUNT}`)
      for (let step = 0; step < COUNT; step++) {
        await reading.until(`step ${String(step).padStart(3, '0')}\n\n`)
        t.equal(reading.text().split('step ').length - 1, step + 1, 'and no event that was not confirmed')
        await ask(`/confirm?id=h2-${framing}`)
      }
      if (!reading.stream.closed) await once(reading.stream, 'close')
      t.equal(reading.stream.rstCode, constants.NGHTTP2_NO_ERROR, 'and it ends well')
      await expectAllReleased(t)
    })
  }
})

t.test('a response that breaks off ends with RST_STREAM and an error', async t => {
  for (const framing of ['chunked', 'length', 'close']) {
    for (const how of ['fin', 'reset']) {
      if (framing === 'close' && how === 'fin') continue
      await t.test(`${framing}, ${how}`, async t => {
        const reading = begin(`/breaks?framing=${framing}&how=${how}`)
        await reading.until('a part')
        await ask('/break')
        if (!reading.stream.closed) await waitForEvent(reading.stream, 'close')
        t.not(reading.stream.rstCode, constants.NGHTTP2_NO_ERROR)
        t.notOk(session.destroyed, 'the connection goes on')
        await expectAllReleased(t)
      })
    }
  }
})

t.test('1xx responses and trailers pass', async t => {
  const hinted = begin('/interim')
  const [headers] = (await once(hinted.stream, 'headers')) as [Record<string, unknown>]
  t.match(headers, { ':status': 103, link: '</style.css>' })
  await ask('/go-on')
  await hinted.until('final')
  const trailing = begin('/trailers')
  const [trailers] = (await once(trailing.stream, 'trailers')) as [Record<string, unknown>]
  t.match(trailers, { 'x-sum': '42' })
})

t.test('an answer that comes before the body is through', async t => {
  const reading = begin('/early', { ':method': 'POST' }, false)
  reading.stream.write('abc')
  await reading.until('early')
  reading.stream.end('def')
  await expectAllReleased(t)
})

const MIB = 1024 * 1024
const HELD_BYTES_MAX = 32 * MIB
const FLOOD_BYTES = 96 * MIB

t.test('a stream that is not read holds up its backend and no other stream', async t => {
  const { stream } = begin(`/flood?bytes=${FLOOD_BYTES}`)
  stream.pause()
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
  const other = begin('/')
  await other.until('hello')
  t.equal(stream.closed, false, 'another stream of the same connection goes on while this one is held up')
  let received = 0
  stream.removeAllListeners('data')
  stream.on('data', (piece: string) => {
    received += piece.length
  })
  stream.resume()
  await once(stream, 'end')
  t.equal(received, FLOOD_BYTES, 'then it gets all of it')
  await expectAllReleased(t)
})

t.test('a client that resets its stream frees the slot', async t => {
  const reading = begin('/steps?id=h2-left&framing=chunked&count=2')
  await reading.until('step 000')
  reading.stream.close(constants.NGHTTP2_CANCEL)
  await expectAllReleased(t)
})
