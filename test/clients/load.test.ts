import { fastKitchenCommand, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { missing, runProgram } from '../support/programs.ts'
import { describeService, postToken } from '../support/services.ts'

// Short loads by the usual generators: not how fast it is, but that every request of theirs is answered well.
const waiter = await startWaiter()
t.teardown(() => waiter.stop())
await postToken(waiter, 'load', describeService(fastKitchenCommand(), { 'concurrency-level': 100 }))
await waiter.request({ headers: { 'x-waiter-token': 'load' } })

t.test('wrk', { skip: missing('wrk') }, async t => {
  const run = await runProgram('wrk', ['-t1', '-c8', '-d1s', '-H', 'x-waiter-token: load', waiter.url])
  t.equal(run.code, 0, run.stderr)
  t.match(run.stdout, /[1-9]\d* requests in/)
  t.notMatch(run.stdout, /Non-2xx|Socket errors/)
})

t.test('h2load: h2c by prior knowledge, and HTTP/1.1', { skip: missing('h2load') }, async t => {
  for (const [story, flags] of [
    ['h2c', []],
    ['HTTP/1.1', ['--h1']],
  ] as const) {
    const run = await runProgram('h2load', [...flags, '-n500', '-c4', '-m5', '-H', 'x-waiter-token: load', waiter.url])
    t.equal(run.code, 0, run.stderr)
    t.match(run.stdout, '500 succeeded, 0 failed, 0 errored, 0 timeout', story)
    t.match(run.stdout, 'status codes: 500 2xx')
  }
})

t.test('nghttp', { skip: missing('nghttp') }, async t => {
  const run = await runProgram('nghttp', ['-v', '-H', 'x-waiter-token: load', `${waiter.url}/a`, `${waiter.url}/b`])
  t.equal(run.code, 0, run.stderr)
  t.equal(run.stdout.match(/:status: 200/g)?.length, 2, 'two streams on one connection')
  t.notMatch(run.stdout, /RST_STREAM|GOAWAY.*PROTOCOL_ERROR/)
})
