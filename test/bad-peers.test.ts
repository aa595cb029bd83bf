import { fileURLToPath } from 'node:url'
import { connectRaw, eventually, kitchenCommand, type StartedWaiter, startWaiter } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { describeService, errorOf, onTheFly, postToken, serviceIdOf } from './support/services.ts'

const waiter = await startWaiter()
t.teardown(() => waiter.stop())

const RUDE = `exec '${process.execPath}' '${fileURLToPath(new URL('support/rude-backend.ts', import.meta.url))}' $PORT0`

/** What the router counts for a service. */
async function countsOf(serviceId: string): Promise<{ readonly outstanding: number }> {
  return (await waiter.api(`/state/${serviceId}`)).state['request-counts']
}

/** Every slot is back: nothing outstanding, nothing in use. */
async function expectAllReleased(t: Test, serviceId: string): Promise<void> {
  const released = await eventually(async () => {
    const { state } = await waiter.api(`/state/${serviceId}`)
    const instances = Object.values(state['responder-state']['instance-id->state']) as Record<string, number>[]
    const isFree = instances.every(instance => instance['slots-used'] === 0)
    return (state['request-counts'].outstanding === 0 && isFree) || undefined
  }, 'all slots to be released')
  t.ok(released, 'all slots are released')
}

/** A service of its own for each story: errors of one must not make the next wait for an instance that is left alone. */
async function rudeService(name: string): Promise<{ headers: Record<string, string>; serviceId: string }> {
  const description = describeService(RUDE, { name, 'concurrency-level': 1, 'max-instances': 1 })
  await postToken(waiter, name, description)
  const headers = { 'x-waiter-token': name, accept: 'application/json' }
  return { headers, serviceId: await serviceIdOf(waiter, headers) }
}

t.test('backends that break the protocol', async t => {
  const rows: [story: string, path: string, status: number, message: string][] = [
    ['close without an answer', '/closes', 502, 'Request to service backend failed'],
    ['reset the connection', '/resets', 502, 'Request to service backend failed'],
    ['send garbage', '/garbage', 502, 'Request to service backend failed'],
    ['close in the middle of the head', '/half-a-head', 502, 'Request to service backend failed'],
    ['say two lengths', '/two-lengths', 502, 'Request to service backend failed'],
  ]
  for (const [story, path, status, message] of rows) {
    await t.test(story, async t => {
      const { headers, serviceId } = await rudeService(path.slice(1))
      t.equal((await waiter.request({ headers })).text, 'hello')
      const answer = await waiter.request({ path, headers })
      t.equal(answer.status, status)
      t.equal(errorOf(answer).message, message)
      t.ok(errorOf(answer).details.reason, 'with a reason')
      await expectAllReleased(t, serviceId)
      t.equal((await waiter.request({ headers })).status, 200, 'the next request is served')
    })
  }

  for (const path of ['/closes-mid-body', '/closes-mid-chunk']) {
    await t.test(`break off in the body: ${path}`, async t => {
      const { headers, serviceId } = await rudeService(path.slice(1))
      t.equal((await waiter.request({ headers })).text, 'hello')
      await t.rejects(waiter.request({ path, headers }), 'the client can see that something is missing')
      await expectAllReleased(t, serviceId)
      t.match(await countsOf(serviceId), { 'instance-error': 1 })
      t.equal((await waiter.request({ headers })).status, 200, 'the next request is served')
    })
  }

  await t.test('never answer: x-waiter-timeout ends it with 504', async t => {
    const { headers, serviceId } = await rudeService('never-answers')
    t.equal((await waiter.request({ headers })).text, 'hello')
    const startedMs = performance.now()
    const answer = await waiter.request({ path: '/never-answers', headers: { ...headers, 'x-waiter-timeout': '500' } })
    const tookMs = performance.now() - startedMs
    t.equal(answer.status, 504)
    t.equal(errorOf(answer).message, 'Request to service backend timed out')
    t.match(errorOf(answer).details, { 'timeout-ms': 500, 'service-id': serviceId })
    t.ok(tookMs >= 490 && tookMs < 5_000, `after ${Math.round(tookMs)} ms`)
    await expectAllReleased(t, serviceId)
    t.equal((await waiter.request({ headers })).status, 200, 'the next request is served')
  })
})

/** Writes a request's head (and perhaps a part of its body) on a connection of its own. */
async function begin(on: StartedWaiter, path: string, token: string, more = '') {
  const connection = await connectRaw({ port: on.port })
  await connection.write(`${more === '' ? 'GET' : 'POST'} ${path} HTTP/1.1\r\nhost: ${token}\r\n${more}\r\n`)
  return connection
}

t.test('clients that vanish', async t => {
  const rows: [story: string, leave: 'destroy' | 'reset'][] = [
    ['with a clean end', 'destroy'],
    ['with a reset', 'reset'],
  ]
  for (const [story, leave] of rows) {
    const vanish = (connection: Awaited<ReturnType<typeof begin>>): void => {
      if (leave === 'reset') connection.socket.resetAndDestroy()
      else connection.destroy()
    }

    await t.test(`while queued, ${story}`, async t => {
      const token = `queued-${leave}`
      const description = describeService(kitchenCommand(), { name: token, 'concurrency-level': 1, 'max-instances': 1 })
      await postToken(waiter, token, description)
      const headers = { 'x-waiter-token': token }
      t.equal((await waiter.request({ headers })).status, 200)
      const serviceId = await serviceIdOf(waiter, headers)
      const waiting = async (count: number) => {
        const { state } = await waiter.api(`/state/${serviceId}`)
        return state['responder-state']['waiting-requests'] === count || undefined
      }
      const slow = waiter.request({ headers: { ...headers, 'x-kitchen-delay-ms': '1000' } })
      await eventually(async () => (await countsOf(serviceId)).outstanding === 1 || undefined, 'the slow request')
      const impatient = await Promise.all([1, 2, 3].map(() => begin(waiter, '/impatient', token)))
      await eventually(() => waiting(3), 'three to wait')
      for (const connection of impatient) vanish(connection)
      await eventually(() => waiting(0), 'nobody to wait')
      t.equal((await slow).status, 200, 'who was served goes on')
      await expectAllReleased(t, serviceId)
      const state = JSON.parse((await waiter.request({ path: '/kitchen-state', headers })).text)
      t.equal(state['pending-http-requests'], 0)
      t.match(await countsOf(serviceId), { 'client-error': 3 }, 'and none of them reached the backend')
    })

    await t.test(`while the service starts, ${story}`, async t => {
      const token = `starting-${leave}`
      await postToken(waiter, token, describeService('exec sleep 300', { name: token, 'grace-period-secs': 0 }))
      const serviceId = await serviceIdOf(waiter, { 'x-waiter-token': token })
      const connection = await begin(waiter, '/', token)
      await eventually(async () => (await countsOf(serviceId)).outstanding === 1 || undefined, 'the request to wait')
      vanish(connection)
      await expectAllReleased(t, serviceId)
    })

    await t.test(`in the middle of an answer, ${story}`, async t => {
      const { headers, serviceId } = await rudeService(`mid-answer-${leave}`)
      t.equal((await waiter.request({ headers })).status, 200)
      const connection = await begin(waiter, '/never-ends', `mid-answer-${leave}`)
      await new Promise(resolve => connection.socket.once('data', resolve))
      vanish(connection)
      await expectAllReleased(t, serviceId)
      t.equal((await waiter.request({ headers })).status, 200, 'the next request gets the only slot')
    })

    await t.test(`in the middle of their own body, ${story}`, async t => {
      const token = `mid-body-${leave}`
      const description = describeService(kitchenCommand(), { name: token, 'concurrency-level': 1, 'max-instances': 1 })
      await postToken(waiter, token, description)
      const headers = { 'x-waiter-token': token }
      t.equal((await waiter.request({ headers })).status, 200)
      const serviceId = await serviceIdOf(waiter, headers)
      const connection = await begin(waiter, '/', token, 'content-length: 1000000\r\n')
      await connection.write('x'.repeat(1000))
      await eventually(async () => (await countsOf(serviceId)).outstanding === 1 || undefined, 'the request')
      vanish(connection)
      await expectAllReleased(t, serviceId)
      t.equal((await waiter.request({ headers })).status, 200, 'the next request gets the only slot')
    })
  }
})

t.test('limits of waiting', async t => {
  const never = (name: string) =>
    describeService('exec sleep 300', { name, 'grace-period-secs': 0, 'max-queue-length': 3, 'max-instances': 1 })

  await t.test('x-waiter-queue-timeout: 503 that says how long, and where to look', async t => {
    const headers = { ...onTheFly(never('too-late')), accept: 'application/json', 'x-waiter-queue-timeout': '1000' }
    const startedMs = performance.now()
    const answer = await waiter.request({ headers })
    const tookMs = performance.now() - startedMs
    t.equal(answer.status, 503)
    t.ok(tookMs >= 990 && tookMs < 5_000, `after ${Math.round(tookMs)} ms`)
    const error = errorOf(answer)
    t.equal(
      error.message,
      'After 1 seconds, no instance available to handle request. Check that your service is able to start properly!',
    )
    t.match(error.details, {
      'service-id': error['service-id'],
      'outstanding-requests': 1,
      'slots-assigned': 0,
      'slots-available': 0,
      'slots-in-use': 0,
      'waiting-for-available-instance': Number,
    })
    await expectAllReleased(t, error['service-id'])
  })

  await t.test('a token can bring its own queue timeout', async t => {
    await postToken(waiter, 'token-late', { ...never('token-late'), 'queue-timeout-ms': 700 })
    const answer = await waiter.request({ headers: { 'x-waiter-token': 'token-late', accept: 'application/json' } })
    t.equal(answer.status, 503)
    t.match(errorOf(answer).message, /no instance available to handle request/)
  })

  await t.test('max-queue-length: who comes when the queue is full is told at once', async t => {
    const headers = { ...onTheFly(never('full')), accept: 'application/json' }
    const serviceId = await serviceIdOf(waiter, headers)
    const patient = Array.from({ length: 3 }, () =>
      waiter.request({ headers: { ...headers, 'x-waiter-queue-timeout': '2000' } }),
    )
    await eventually(async () => (await countsOf(serviceId)).outstanding === 3 || undefined, 'a full queue')
    const answer = await waiter.request({ headers })
    t.equal(answer.status, 503)
    t.equal(errorOf(answer).message, 'Max queue length exceeded')
    t.match(errorOf(answer).details, { 'max-queue-length': 3, 'current-queue-length': 3, 'service-id': serviceId })
    const others = await Promise.all(patient)
    t.same(
      others.map(other => errorOf(other).message.slice(0, 15)),
      Array(3).fill('After 2 seconds'),
      'those in the queue stay there until their own time is up',
    )
    await expectAllReleased(t, serviceId)
  })
})
