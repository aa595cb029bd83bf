import fc from 'fast-check'
import t from 'tap'
import { LOCATION_CHARS_MAX } from '../../src/async/async-location.ts'
import { AsyncTickets, TICKET_CHARS_MAX } from '../../src/async/async-tickets.ts'
import { createSealedBox } from '../../src/auth/sealed-box.ts'
import { exampleTicket } from '../support/async.ts'

const boxOf = (secret: string, purpose = 'async request') =>
  createSealedBox({ secrets: [secret], clusterName: 'waiter', purpose, charsMax: TICKET_CHARS_MAX })
const tickets = new AsyncTickets(boxOf('one'))
const ticket = exampleTicket({ location: '/async/status?request-id=1' })

function read(url: string, by: AsyncTickets = tickets) {
  const [path = '', query = null] = url.split('?', 2)
  return by.read(path, query)
}

t.test('what was sealed is read, by every router of the cluster', async t => {
  const url = tickets.urlOf('status', ticket)
  t.match(url, /^\/waiter-async\/v2\/status\/r-1\/[\w.-]+\/async\/status\?request-id=1$/)
  t.same(read(url, new AsyncTickets(boxOf('one'))), { about: 'status', ticket })
  t.notMatch(url, /127|10001|waiter-service|router-9/, 'neither address nor names')
  const result = tickets.urlOf('result', { ...ticket, location: '/' })
  t.same(read(result), { about: 'result', ticket: { ...ticket, location: '/' } })
})

t.test('the longest location', async t => {
  const location = `/${'a'.repeat(LOCATION_CHARS_MAX - 1)}`
  t.same(read(tickets.urlOf('status', { ...ticket, location }))?.ticket.location, location)
})

t.test('a client may add to the query, and change nothing else', async t => {
  const url = tickets.urlOf('status', ticket)
  t.equal(read(`${url}&wait=5`)?.ticket.location, '/async/status?request-id=1&wait=5')
  const plain = tickets.urlOf('status', { ...ticket, location: '/s' })
  t.equal(read(`${plain}?wait=5`)?.ticket.location, '/s?wait=5')
  for (const [story, changed] of [
    ['another path', url.replace('/async/status', '/admin')],
    ['a longer path', url.replace('?', '/more?')],
    ['another id on the instance', url.replace('request-id=1', 'request-id=2')],
    ['a longer id', `${url}1`],
    ['no query', url.replace(/\?.*/, '')],
    ['a status as a result', url.replace('v2/status', 'v2/result')],
    ['another request', url.replace('/r-1/', '/r-2/')],
    ['the address of old', url.replace('/v2', '')],
    ['no ticket', '/waiter-async/v2/status/r-1/x/async/status?request-id=1'],
    ['nothing', '/waiter-async/v2/status/'],
    ['a ticket that is too long', `/waiter-async/v2/status/r-1/v1.${'a'.repeat(TICKET_CHARS_MAX)}.b/s`],
  ] as const)
    t.equal(read(changed), undefined, story)
})

t.test('another cluster’s, and what was sealed for another purpose', async t => {
  t.equal(read(tickets.urlOf('status', ticket), new AsyncTickets(boxOf('two'))), undefined)
  t.equal(read(new AsyncTickets(boxOf('one', 'consent cookie')).urlOf('status', ticket)), undefined)
})

t.test('no changed character of a ticket opens', async () => {
  const url = tickets.urlOf('status', ticket)
  const start = url.indexOf('/r-1/') + '/r-1/'.length
  const end = url.indexOf('/async/', start)
  fc.assert(
    fc.property(fc.integer({ min: start, max: end - 1 }), fc.constantFrom(...'AZaz09-_.'), (at, char) => {
      const changed = url.slice(0, at) + char + url.slice(at + 1)
      const opened = read(changed)
      // The last character of base64 has bits that nothing depends on.
      return changed === url || opened === undefined || at === end - 1
    }),
    { seed: 8, numRuns: 500 },
  )
})
