import t from 'tap'
import { renderHeader } from '../src/index.ts'
import { createPairing, PAIRINGS } from './relay/support.ts'
import { createHarness, get, ok } from './support/harness.ts'

const LINE = renderHeader('location', '/ours')

t.test(
  'HTTP/1.1 both ways: all locations of the response make way for the owner’s, the rest stays as it was',
  async t => {
    const harness = await createHarness(t)
    const seen: (string | undefined)[] = []
    const target = harness.target(() => undefined, {
      extraResponseHead: renderHeader('via', '1.1 w'),
      onResponseHead: (_status, readField) => {
        seen.push(readField('location'))
        ;(target as { replacedLocation?: string }).replacedLocation = LINE
      },
    })
    const client = await harness.client()
    client.write(get('/'))
    ;(await harness.nextExchange()).forward(target)
    const upstream = await harness.backend.next()
    await upstream.until('\r\n\r\n')
    upstream.write(ok('hello', 'LOCATION: /theirs', 'X-A: 1', 'location:/again', 'X-Location: /kept'))
    t.equal(
      await client.until('hello'),
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nX-Location: /kept\r\nvia: 1.1 w\r\nlocation: /ours\r\n\r\nhello',
    )
    t.same(seen, ['/theirs, /again'], 'the owner sees what the backend said')
  },
)

t.test('HTTP/1.1 both ways: without a replacement the location goes on', async t => {
  const harness = await createHarness(t)
  const { client, upstream } = await harness.forwarded(get('/'))
  upstream.write(ok('hello', 'Location: /theirs'))
  t.match(await client.until('hello'), 'Location: /theirs\r\n')
})

for (const [from, to] of PAIRINGS)
  t.test(`${from} to ${to}: a location is replaced when the owner says so`, async t => {
    const pairing = await createPairing(t, from, to)
    pairing.handler = (_request, response) => {
      response.writeHead(202, { location: '/theirs', 'x-location': '/kept' })
      response.end('hello')
    }
    t.equal((await pairing.ask()).headers.location, '/theirs')
    pairing.overrides = { replacedLocation: LINE }
    const answer = await pairing.ask()
    t.equal(answer.headers.location, '/ours')
    t.equal(answer.headers['x-location'], '/kept')
    t.equal(String(answer.body), 'hello')
  })
