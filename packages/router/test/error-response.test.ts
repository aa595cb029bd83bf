import t from 'tap'
import { chooseFormat, type ErrorContext, renderRequestError } from '../src/errors/error-response.ts'

const context: ErrorContext = {
  cid: 'cid-1',
  method: 'get',
  host: 'app.example.com:9091',
  path: '/a',
  query: 'b=c',
  accept: undefined,
  contentType: undefined,
  principal: 'alice',
  serviceId: 's-1',
  instanceId: null,
  token: 'app',
  serviceOwner: 'bob',
  supportInfo: [{ label: 'Manual', link: { type: 'url', value: 'https://example.com/manual' } }],
  timestamp: new Date(0),
  own: [['x-cid', 'cid-1']],
}
const error = {
  status: 503,
  message: 'After 300 seconds, no instance available. See https://example.com/why?a=b',
  errorClass: 'waiter.RequestTimeout',
  details: { waiting: 3 },
}

const headerOf = (response: ReturnType<typeof renderRequestError>, name: string): string | undefined =>
  response.headers.find(([key]) => key === name)?.[1]

t.test('the format that a client gets', async t => {
  const rows: [sentence: string, accept: string | undefined, contentType: string | undefined, format: string][] = [
    ['nothing said: text', undefined, undefined, 'text'],
    ['a browser', 'text/html,application/xhtml+xml,*/*;q=0.8', undefined, 'html'],
    ['a program', 'application/json', undefined, 'json'],
    ['JSON before HTML', 'text/html, application/json', undefined, 'json'],
    ['HTML before text', 'text/plain, text/html', undefined, 'html'],
    ['text on request, though it sent JSON', 'text/plain', 'application/json', 'text'],
    ['who sends JSON gets JSON', '*/*', 'application/json', 'json'],
    ['exactly JSON only', '*/*', 'application/json; charset=utf-8', 'text'],
  ]
  for (const [sentence, accept, contentType, format] of rows)
    t.equal(chooseFormat({ accept, contentType }), format, sentence)
})

t.test('JSON', async t => {
  const response = renderRequestError(error, { ...context, accept: 'application/json' })
  t.equal(response.status, 503)
  t.equal(headerOf(response, 'content-type'), 'application/json')
  t.equal(headerOf(response, 'x-cid'), 'cid-1')
  t.same(JSON.parse(String(response.body)), {
    'waiter-error': {
      cid: 'cid-1',
      details: { waiting: 3, 'error-class': 'waiter.RequestTimeout', 'log-level': 'warn', status: 503 },
      host: 'app.example.com:9091',
      'instance-id': null,
      message: error.message,
      principal: 'alice',
      'query-string': 'b=c',
      'request-method': 'GET',
      'service-id': 's-1',
      'service-owner': 'bob',
      status: 503,
      'support-info': context.supportInfo,
      timestamp: '1970-01-01T00:00:00.000Z',
      title: 'Request Timeout',
      uri: '/a',
      'waiter-token': 'app',
    },
  })
})

t.test('text names every fact on a line of its own', async t => {
  const { token, serviceOwner, ...anonymous } = context
  t.ok(token && serviceOwner)
  const text = String(renderRequestError({ status: 404, message: 'Not\nfound' }, anonymous).body)
  t.match(text, /^404 Waiter Error 404\n=+\n\n {2}Not\n {2}found\n/)
  t.match(text, /\n {2}Host: +app\.example\.com:9091\n/)
  t.match(text, /\n {2}Method: +get\n/)
  t.match(text, /\nGetting Help\n\n {2}Manual: +https:\/\/example\.com\/manual\n/)
  t.notMatch(text, /Instance Id|Waiter Token|Service Owner/, 'what is not known is left out')
})

t.test('HTML: hostile values stay text', async t => {
  const evil = `"><script>alert('x')</script>&`
  const response = renderRequestError(
    { status: 400, message: `${evil} https://e.com/"onmouseover=1`, title: evil, details: { [evil]: evil } },
    {
      ...context,
      accept: 'text/html',
      cid: evil,
      method: evil,
      host: evil,
      path: evil,
      query: evil,
      principal: evil,
      serviceId: evil,
      instanceId: evil,
      token: evil,
      serviceOwner: evil,
      supportInfo: [
        { label: evil, link: { type: 'url', value: `https://e.com/${evil}` } },
        { label: 'x', link: { type: 'url', value: 'javascript:alert(1)' } },
      ],
    },
  )
  const html = String(response.body)
  t.notMatch(html, /<script/i)
  t.notMatch(html, /href="javascript/i)
  t.notMatch(html, /href="[^"]*"(?!>)/, 'no value leaves its attribute')
  t.equal(html.split('&lt;script&gt;').length - 1 >= 14, true, 'every value is there, escaped')
  t.match(html, '<a href="https://e.com/">https://e.com/</a>&quot;onmouseover=1')
  t.equal(headerOf(response, 'content-type'), 'text/html;charset=utf-8')
})

t.test('HTML: links of the message and of the footer', async t => {
  const html = String(renderRequestError(error, { ...context, accept: 'text/html' }).body)
  t.match(html, '<a href="https://example.com/why?a=b">https://example.com/why?a=b</a>')
  t.match(html, '<li>Manual: <a href="https://example.com/manual">')
  t.match(html, '<title>Request Timeout</title>')
})

t.test('headers of the error come along', async t => {
  const response = renderRequestError(
    { status: 401, message: 'no', headers: [['www-authenticate', 'Negotiate']] },
    context,
  )
  t.equal(headerOf(response, 'www-authenticate'), 'Negotiate')
})
