import { kitchenCommand, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { missing, runProgram } from '../support/programs.ts'
import { describeService, postToken } from '../support/services.ts'

const skip = missing('curl')
const waiter = await startWaiter()
t.teardown(() => waiter.stop())
await postToken(waiter, 'curl', describeService(kitchenCommand(), { 'concurrency-level': 20 }))

const curl = (args: readonly string[], input?: string) =>
  runProgram('curl', ['-sS', '--max-time', '30', '-H', 'x-waiter-token: curl', ...args], input)
const at = (path: string): string => `${waiter.url}${path}`
/** Printed behind the answer: version, status, bytes received, connections made. */
const FACTS = ['-w', '\n%{http_version} %{http_code} %{size_download} %{num_connects}\n']
const ECHO = ['-H', 'x-kitchen-echo: true']

/** HTTP versions, and what makes curl speak them. An upgrade to h2c is not taken: curl goes on with 1.1. */
const VERSIONS: readonly (readonly [flag: string, spoken: string])[] = [
  ['--http1.1', '1.1'],
  ['--http1.0', '1.1'],
  ['--http2-prior-knowledge', '2'],
  ['--http2', '1.1'],
]

t.test('curl', { skip }, async t => {
  for (const [flag, spoken] of VERSIONS) {
    await t.test(flag, async t => {
      const hello = await curl([flag, ...FACTS, at('/')])
      t.match(hello, { code: 0, stdout: new RegExp(`^Hello World\n${spoken} 200 11 1\n$`) }, hello.stderr)
      const posted = await curl([flag, ...ECHO, '-d', 'a=b&c=d', at('/')])
      t.match(posted, { code: 0, stdout: 'a=b&c=d' })
      const head = await curl([flag, '-I', at('/')])
      t.match(head.stdout, /^HTTP\/[\d.]+ 200/)
      t.match(head.stdout, /content-length: 11/i)
      const missingPage = await curl([flag, ...FACTS, '-o', '/dev/null', at('/bad-status?status=404')])
      t.match(missingPage.stdout, ` 404 `)
    })
  }

  for (const [flag] of VERSIONS.filter(([one]) => one !== '--http1.0')) {
    await t.test(`${flag}: bodies and connections`, async t => {
      const long = 'x'.repeat(3_000_000)
      const expecting = await curl([flag, ...ECHO, '-H', 'Expect: 100-continue', '--data-binary', '@-', at('/')], long)
      t.equal(expecting.stdout.length, long.length, 'a long body with Expect comes back whole')
      const streamed = await curl([flag, ...ECHO, '-T', '-', at('/')], 'streamed body')
      t.match(streamed, { code: 0, stdout: 'streamed body' }, 'a body of unknown length')
      const big = await curl([
        flag,
        ...FACTS,
        '-o',
        '/dev/null',
        '-H',
        'x-kitchen-response-size: 5000000',
        at('/unchunked'),
      ])
      t.match(big.stdout, ' 200 5000000 1')
      const chunked = await curl([
        flag,
        ...FACTS,
        '-o',
        '/dev/null',
        '-H',
        'x-kitchen-response-size: 500000',
        at('/chunked'),
      ])
      t.match(chunked.stdout, ' 200 500000 1')
      const zipped = await curl([flag, '--compressed', '-H', 'x-kitchen-response-size: 50000', at('/gzip')])
      t.equal(zipped.stdout.length, 50_000, 'a gzipped body passes untouched')
      // curl 7.88 cannot use a connection of prior knowledge again, whoever the server is.
      if (flag !== '--http2-prior-knowledge') {
        const two = await curl([flag, ...FACTS, at('/'), at('/')])
        t.match(two.stdout, / 200 11 1\nHello World\n\S+ 200 11 0\n$/, 'the second request uses the same connection')
        const many = await curl([
          flag,
          '-Z',
          '--parallel-max',
          '10',
          ...FACTS,
          ...Array.from({ length: 20 }, () => at('/')),
        ])
        t.equal(many.stdout.match(/ 200 11 /g)?.length, 20, '20 in parallel')
      }
      const cut = await curl([flag, '-H', 'x-kitchen-fail-after: 10', at('/')])
      t.not(cut.code, 0, 'a cut answer is an error')
    })
  }
})
