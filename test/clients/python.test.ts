import { kitchenCommand, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { missing, runProgram } from '../support/programs.ts'
import { describeService, postToken } from '../support/services.ts'

const SCRIPT = `
import http.client, json, sys
connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=30)
results = []
def ask(method, path, body=None, headers={}, **more):
    connection.request(method, path, body, {'x-waiter-token': 'python', **headers}, **more)
    socket = connection.sock
    response = connection.getresponse()
    text = response.read().decode()
    results.append([response.status, text[:40], len(text), response.version])
    return socket
first = ask('GET', '/')
last = [
    ask('HEAD', '/'),
    ask('POST', '/', 'posted', {'x-kitchen-echo': 'true'}),
    ask('PUT', '/', iter([b'one', b'two']), {'x-kitchen-echo': 'true'}, encode_chunked=True),
    ask('GET', '/chunked', headers={'x-kitchen-response-size': '100000'}),
    ask('GET', '/bad-status?status=418'),
][-1]
print(json.dumps({'results': results, 'isOneConnection': first is last and last is not None}))
`

t.test('Python’s http.client', { skip: missing('python3') }, async t => {
  const waiter = await startWaiter()
  t.teardown(() => waiter.stop())
  await postToken(waiter, 'python', describeService(kitchenCommand(), { 'concurrency-level': 5 }))
  const run = await runProgram('python3', ['-c', SCRIPT, String(waiter.port)])
  t.equal(run.code, 0, run.stderr)
  const { results, isOneConnection } = JSON.parse(run.stdout)
  t.same(results, [
    [200, 'Hello World', 11, 11],
    [200, '', 0, 11],
    [200, 'posted', 6, 11],
    [200, 'onetwo', 6, 11],
    [200, results[4][1], 100_000, 11],
    [418, 'Hello World', 11, 11],
  ])
  t.ok(isOneConnection, 'all over one kept connection')
})
