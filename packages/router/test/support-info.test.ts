import fc from 'fast-check'
import t from 'tap'
import { renderRequestError } from '../src/errors/error-response.ts'
import { type SupportInfo, supportLinksFor } from '../src/errors/support-info.ts'
import { startTestRouter } from './support/started-router.ts'

const SEED = 20_261_129
const supportInfo: readonly SupportInfo[] = [
  {
    label: 'Log',
    link: { type: 'url', value: 'https://logs.example.com/?q={id}&service={service}&keep={other}' },
    variables: { id: 'cid', service: 'service-id' },
  },
  {
    label: 'Queues',
    link: { type: 'url', value: 'https://example.com/queues' },
    'error-classes': ['waiter.QueueLength'],
  },
]

t.test('links are filled in with what the error says, and shown for the errors that they are for', async t => {
  const context = {
    ...{
      cid: 'a b&c',
      method: 'get',
      host: 'h',
      path: '/',
      query: null,
      accept: 'application/json',
      contentType: undefined,
    },
    ...{ principal: null, serviceId: null, instanceId: null, supportInfo, timestamp: new Date(0), own: [] },
  }
  const linksOf = (errorClass?: string): { label: string; link: { value: string } }[] =>
    JSON.parse(
      String(renderRequestError({ status: 503, message: 'm', ...(errorClass && { errorClass }) }, context).body),
    )['waiter-error']['support-info']
  t.same(linksOf(), [
    { label: 'Log', link: { type: 'url', value: 'https://logs.example.com/?q=a%20b%26c&service=&keep={other}' } },
  ])
  t.same(
    linksOf('waiter.QueueLength').map(({ label }) => label),
    ['Log', 'Queues'],
  )
  const html = renderRequestError({ status: 400, message: 'm' }, { ...context, accept: 'text/html' }).body
  t.match(String(html), 'q=a%20b%26c&amp;service=')
  const router = await startTestRouter(t, { supportInfo })
  const welcome = await router.json({ path: '/', headers: { accept: 'application/json', 'x-cid': 'cid-7' } })
  t.match(welcome['support-info'], [{ label: 'Log', link: { value: /q=cid-7&service=&keep/ } }])
  t.equal(welcome['support-info'].length, 1)
})

t.test('no value leads elsewhere', async () => {
  const entry: SupportInfo = {
    label: 'x',
    link: { type: 'url', value: 'https://example.com/{a}?b={a}' },
    variables: { a: 'uri' },
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), uri => {
      const url = new URL(supportLinksFor([entry], undefined, { uri })[0]?.link.value ?? '')
      return url.host === 'example.com' && url.hash === '' && url.searchParams.size === 1
    }),
    { seed: SEED, numRuns: 500 },
  )
})
