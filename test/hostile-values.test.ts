import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectRaw, type RawResponse, request } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { TOKEN } from '../benchmarks/differential/odd-request.ts'
import { startWaiterProxy } from '../benchmarks/differential/proxies.ts'

// No value of a client's may become a line of its own on its way through Waiter: neither toward the backend nor back.
const directory = mkdtempSync(join(tmpdir(), 'waiter-hostile-'))
const waiter = await startWaiterProxy(directory)
t.teardown(async () => {
  await waiter.stop()
  rmSync(directory, { recursive: true, force: true })
})

/** Bytes that some program on some way turns into CR and LF: escapes, UTF-8 of U+560D U+560A and of U+010D U+010A. */
const BREAKS = [
  '%0d%0a',
  '%250d%250a',
  '\\r\\n',
  '\xe5\x98\x8d\xe5\x98\x8a',
  '\xc4\x8d\xc4\x8a',
  '\x85',
  '\t ',
  '&#13;&#10;',
]
const HOSTILE = [
  ...BREAKS.map(lineBreak => `a${lineBreak}X-Evil: 1`),
  'a b',
  '',
  'x'.repeat(300),
  'a, b',
  '"quoted\\"',
  '<script>',
  '\xff\xfe',
]

async function ask(head: string): Promise<RawResponse> {
  const connection = await connectRaw({ port: waiter.port })
  try {
    await connection.write(head)
    const response = await connection.nextResponse()
    t.equal(connection.rest().length, 0, 'one answer, and nothing behind it')
    return response
  } finally {
    connection.destroy()
  }
}

function expectSound(t: Test, response: RawResponse): void {
  const names = response.headers.map(([name]) => name.toLowerCase())
  t.notOk(names.includes('x-evil'), 'no line of the client’s making')
  t.equal(names.filter(name => name === 'x-cid').length, 1, 'one correlation id')
  t.match(response.header('x-cid'), /^[\x21-\x7e]{1,256}$/)
  t.same(
    response.headers.filter(([, value]) => /[\0-\x08\x0a-\x1f\x7f]/.test(value)),
    [],
    'values are printable',
  )
}

t.test('hostile correlation ids', async t => {
  for (const [index, value] of HOSTILE.entries()) {
    for (const more of ['', 'x-waiter-debug: true\r\n', 'x-cid: second\r\n']) {
      const before = waiter.seen().length
      const response = await ask(
        `GET /c${index}- HTTP/1.1\r\nhost: a\r\nx-waiter-token: ${TOKEN}\r\nx-cid: ${value}\r\n${more}\r\n`,
      )
      t.equal(response.status, 200)
      expectSound(t, response)
      const [seen, ...others] = waiter.seen().slice(before)
      t.same([others.length, seen?.flaws], [0, []], 'the backend gets one sound request')
      const of = (name: string) => seen?.fields.filter(([one]) => one === name).map(([, found]) => found) ?? []
      t.same(of('x-cid'), [response.header('x-cid')], 'with the same id')
      t.same([of('x-evil').length, of('via').length, of('authorization').length], [0, 1, 1])
    }
  }
})

t.test('hostile tokens, hosts, paths and parameters', async t => {
  for (const value of HOSTILE.filter(text => text !== '')) {
    const heads = [
      `GET / HTTP/1.1\r\nhost: a\r\nx-waiter-token: ${value}\r\n`,
      `GET / HTTP/1.1\r\nhost: a\r\nx-waiter-token: ${TOKEN}\r\nx-waiter-queue-timeout: ${value}\r\n`,
      `GET / HTTP/1.1\r\nhost: a\r\nx-waiter-name: ${value}\r\n`,
      `GET / HTTP/1.1\r\nhost: a\r\nx-waiter-${value.replace(/[^\w-]/g, '')}: ${value}\r\n`,
      `GET /token?token=${encodeURIComponent(value)} HTTP/1.1\r\nhost: localhost\r\n`,
      `GET /apps/${encodeURIComponent(value)} HTTP/1.1\r\nhost: localhost\r\n`,
    ]
    for (const accept of ['application/json', 'text/html', 'text/plain']) {
      for (const head of heads) expectSound(t, await ask(`${head}accept: ${accept}\r\nx-waiter-debug: 1\r\n\r\n`))
    }
  }
})

t.test('tokens whose texts hold line breaks', async t => {
  const evil = 'soon\r\nX-Evil: 1\r\n\r\nHTTP/1.1 200 OK\r\n\u010d\u010aX-Evil: 2'
  const posted = await request({
    port: waiter.port,
    method: 'POST',
    path: '/token?token=evil-texts',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      cmd: 'exit 1',
      cpus: 0.1,
      mem: 32,
      version: '1',
      metadata: { a: evil },
      maintenance: { message: evil },
    }),
  })
  t.equal(posted.status, 200, posted.text)
  for (const accept of ['application/json', 'text/html', 'text/plain']) {
    const response = await ask(`GET / HTTP/1.1\r\nhost: a\r\nx-waiter-token: evil-texts\r\naccept: ${accept}\r\n\r\n`)
    t.equal(response.status, 503)
    t.match(response.text, 'soon', 'the text is in the body')
    expectSound(t, response)
  }
})
