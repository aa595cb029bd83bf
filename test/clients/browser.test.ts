import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeCertificate, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { startBrowser } from '../support/browser.ts'
import { missing } from '../support/programs.ts'
import { describeService, postToken } from '../support/services.ts'

const BACKEND = fileURLToPath(new URL('../support/browser-backend.ts', import.meta.url))
const HOST = 'browser.example'

t.test('Chromium', { skip: missing('chromium') }, async t => {
  const directory = mkdtempSync(join(tmpdir(), 'waiter-browser-test-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const files = { cert: join(directory, 'tls.pem'), key: join(directory, 'tls.key') }
  const { cert, key } = await makeCertificate({ names: [HOST], days: 2 })
  writeFileSync(files.cert, cert)
  writeFileSync(files.key, key)
  const waiter = await startWaiter({ config: { 'server-options': { 'ssl-port': 0, certificates: [files] } } })
  t.teardown(() => waiter.stop())
  const cmd = `exec '${process.execPath}' '${BACKEND}' $PORT0`
  await postToken(waiter, HOST, describeService(cmd, { 'concurrency-level': 20, 'max-instances': 1 }))
  const securePort = new URL(waiter.nodes[0]?.https ?? '').port
  const browser = await startBrowser([
    `--host-resolver-rules=MAP ${HOST}:80 127.0.0.1:${waiter.port}, MAP ${HOST}:443 127.0.0.1:${securePort}`,
    '--ignore-certificate-errors',
  ])
  t.teardown(() => browser.close())
  for (const [scheme, protocol] of [
    ['http', 'http/1.1'],
    ['https', 'h2'],
  ]) {
    await t.test(`${scheme}: ${protocol}`, async t => {
      const found = JSON.parse(String(await browser.evaluate(`${scheme}://${HOST}/page`, 'run()')))
      const pieces = [0, 1, 2, 3, 4]
      t.same(
        found.sse,
        pieces.map(n => `event ${n}`),
        'each event came before the next was sent',
      )
      t.same(
        found.stream,
        pieces.map(n => `piece ${n}`),
        'so did each piece of a streamed answer',
      )
      t.equal(found.cut, 'TypeError', 'a cut answer is an error')
      t.same(found.socket, {
        protocol: 'v2',
        echoed: 'hello',
        bytes: [1, 2, 3],
        closed: { code: 4001, reason: 'bye', wasClean: true },
      })
      t.same(found.posts, [200_000, 200_000, 200_000])
      t.same([found.connections.requests, found.connections.protocols], [10, [protocol]])
      t.ok(found.connections.connects <= 1, 'ten requests over one kept connection')
    })
  }
})
