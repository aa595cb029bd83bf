import { makeCertificate } from '@waiter/testkit'
import t from 'tap'
import { Pairing, pattern } from './support.ts'

const certificate = await makeCertificate({ names: ['backend.example'] })

for (const client of ['h1', 'h2'] as const) {
  for (const backend of ['https', 'h2'] as const) {
    t.test(`${client} to ${backend}: bodies go both ways, and connections serve again`, async t => {
      const pairing = new Pairing(client, backend)
      pairing.certificate = certificate
      await pairing.start()
      t.teardown(() => pairing.stop())
      pairing.handler = (request, response) => {
        response.writeHead(200, { 'x-version': request.httpVersion })
        request.pipe(response)
      }
      const body = pattern(500_000)
      for (const isStreamed of [false, true]) {
        const answer = await pairing.ask({ method: 'POST', body, isStreamed })
        t.equal(answer.status, 200)
        t.equal(answer.headers['x-version'], backend === 'h2' ? '2.0' : '1.1')
        t.ok(answer.body.equals(body))
      }
      t.equal((await pairing.ask()).status, 200)
      t.equal(pairing.proxy.stats().upstreamConnectsTotal, 1)
      t.same(new Set(pairing.outcomes.map(({ kind }) => kind)), new Set(['completed']))
    })
  }

  t.test(`${client}: a backend that agrees on HTTP/1.1 only is no HTTP/2 backend`, async t => {
    const pairing = new Pairing(client, 'https')
    pairing.certificate = certificate
    await pairing.start()
    t.teardown(() => pairing.stop())
    pairing.overrides = { protocol: 'h2' }
    const answer = await pairing.ask({ method: 'POST', body: Buffer.from('body') })
    t.equal(answer.headers['x-outcome'], 'not-sent')
    t.match(await pairing.outcome(), { kind: 'not-sent', reason: 'connect-error' })
  })
}
