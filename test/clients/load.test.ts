import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fastKitchenCommand, makeCertificate, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { missing, runProgram } from '../support/programs.ts'
import { describeService, postToken } from '../support/services.ts'

// Short loads by the usual generators: not how fast it is, but that every request of theirs is answered well.
const directory = mkdtempSync(join(tmpdir(), 'waiter-load-test-'))
const files = { cert: join(directory, 'tls.pem'), key: join(directory, 'tls.key') }
const { cert, key } = await makeCertificate({ names: ['localhost', '127.0.0.1'], days: 2 })
writeFileSync(files.cert, cert)
writeFileSync(files.key, key)
const waiter = await startWaiter({ config: { 'server-options': { 'ssl-port': 0, certificates: [files] } } })
t.teardown(async () => {
  await waiter.stop()
  rmSync(directory, { recursive: true })
})
const secureUrl = waiter.nodes[0]?.https ?? ''
await postToken(waiter, 'load', describeService(fastKitchenCommand(), { 'concurrency-level': 100 }))
await waiter.request({ headers: { 'x-waiter-token': 'load' } })

t.test('wrk', { skip: missing('wrk') }, async t => {
  const run = await runProgram('wrk', ['-t1', '-c8', '-d1s', '-H', 'x-waiter-token: load', waiter.url])
  t.equal(run.code, 0, run.stderr)
  t.match(run.stdout, /[1-9]\d* requests in/)
  t.notMatch(run.stdout, /Non-2xx|Socket errors/)
})

t.test('h2load: h2c by prior knowledge, h2 over TLS, and HTTP/1.1', { skip: missing('h2load') }, async t => {
  for (const [story, flags, url] of [
    ['h2c', [], waiter.url],
    ['h2', [], secureUrl],
    ['HTTP/1.1', ['--h1'], waiter.url],
    ['HTTP/1.1 over TLS', ['--h1'], secureUrl],
  ] as const) {
    const run = await runProgram('h2load', [...flags, '-n500', '-c4', '-m5', '-H', 'x-waiter-token: load', url])
    t.equal(run.code, 0, run.stderr)
    t.match(run.stdout, '500 succeeded, 0 failed, 0 errored, 0 timeout', story)
    t.match(run.stdout, 'status codes: 500 2xx')
  }
})

t.test('nghttp', { skip: missing('nghttp') }, async t => {
  for (const url of [waiter.url, secureUrl]) {
    const run = await runProgram('nghttp', ['-v', '-H', 'x-waiter-token: load', `${url}/a`, `${url}/b`])
    t.equal(run.code, 0, run.stderr)
    t.equal(run.stdout.match(/:status: 200/g)?.length, 2, 'two streams on one connection')
    t.notMatch(run.stdout, /RST_STREAM|GOAWAY.*PROTOCOL_ERROR/)
  }
})

t.test('curl over TLS', { skip: missing('curl') }, async t => {
  for (const [flag, version] of [
    ['--http2', '2'],
    ['--http1.1', '1.1'],
  ] as const) {
    const args = [
      '-sSk',
      flag,
      '-H',
      'x-waiter-token: load',
      '-o',
      '/dev/null',
      '-w',
      '%{http_version} %{http_code} %{num_connects}\n',
    ]
    const run = await runProgram('curl', [...args, `${secureUrl}/a`, '-o', '/dev/null', `${secureUrl}/b`])
    t.equal(run.stdout, `${version} 200 1\n${version} 200 0\n`, run.stderr)
  }
})
