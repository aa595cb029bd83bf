import { fileURLToPath } from 'node:url'
import { startWaiter } from '@waiter/testkit'
import t from 'tap'
import { startBrowser } from '../support/browser.ts'
import { missing } from '../support/programs.ts'
import { describeService, postToken } from '../support/services.ts'

const BACKEND = fileURLToPath(new URL('../support/browser-backend.ts', import.meta.url))
const HOST = 'browser.example'

t.test('Chromium', { skip: missing('chromium') }, async t => {
  const waiter = await startWaiter()
  t.teardown(() => waiter.stop())
  const cmd = `exec '${process.execPath}' '${BACKEND}' $PORT0`
  await postToken(waiter, HOST, describeService(cmd, { 'concurrency-level': 20, 'max-instances': 1 }))
  const browser = await startBrowser([`--host-resolver-rules=MAP ${HOST}:80 127.0.0.1:${waiter.port}`])
  t.teardown(() => browser.close())
  const found = JSON.parse(String(await browser.evaluate(`http://${HOST}/page`, 'run()')))
  t.same(
    found.sse,
    [0, 1, 2, 3, 4].map(n => `event ${n}`),
    'each event came before the next was sent',
  )
  t.same(
    found.stream,
    [0, 1, 2, 3, 4].map(n => `piece ${n}`),
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
  t.same([found.connections.requests, found.connections.protocols], [10, ['http/1.1']])
  t.ok(found.connections.connects <= 1, 'ten requests over one kept connection')
})
